"""The topic in which a model's versions travel, from the publisher's side: append one once, find what was appended."""

from __future__ import annotations

from collections.abc import Iterator

from streams.contract.manifest import ModelUpdate, UpdateAssembler, decode_part, encode_update
from streams.log.event_log import MODEL_UPDATES, Append, EventLog, TopicPartition, claim

_RECORDS_A_READ = 64


class UpdatesTopic:
    """Versions of one model in the log. Every method raises UnavailableError where the log is away."""

    def __init__(self, log: EventLog, model: str, topic: str = MODEL_UPDATES) -> None:
        self._log = log
        self._model = model
        self._partition = TopicPartition(topic, 0)
        self._transactional_id = f"publisher-{model}"

    def claim(self) -> None:
        """Makes this the only publisher of the model: an older one's next append raises ConflictError."""
        self._log.create_topic(self._partition.topic, 1)
        claim(self._log, self._transactional_id)

    def append(self, update: ModelUpdate) -> None:
        """All records of the version, or none. Raises ConflictError where a newer publisher has claimed the model."""
        records = [Append(self._partition, record) for record in encode_update(update)]
        with self._log.transaction(self._transactional_id) as transaction:
            transaction.append(records)

    def end(self) -> int:
        """The offset behind the last version."""
        return self._log.end_offsets([self._partition])[self._partition]

    def behind(self, offset: int) -> Iterator[tuple[ModelUpdate, int]]:
        """(version of this model, offset behind it) from `offset` on. InputError where the log does not reach back."""
        assembler = UpdateAssembler()
        while records := self._log.read({self._partition: offset}, max_records=_RECORDS_A_READ):
            for record in records:
                update = assembler.add(record.value)
                offset = record.offset + 1
                if update is not None and update.manifest.model == self._model:
                    yield update, offset

    def newest_numbers(self) -> tuple[int, int]:
        """(version, generation) of the newest record; zeros where there is none."""
        begin = self._log.begin_offsets([self._partition])[self._partition]
        end = self.end()
        # Transaction markers and aborted records take offsets too, so the last record may stand well before the end.
        for back in (16, 1024, end):
            newest = self._last_behind(max(begin, end - back))
            if newest is not None:
                part = decode_part(newest)
                return part.version, part.generation
        return 0, 0

    def _last_behind(self, offset: int) -> bytes | None:
        newest = None
        while records := self._log.read({self._partition: offset}, max_records=_RECORDS_A_READ):
            newest, offset = records[-1].value, records[-1].offset + 1
        return newest

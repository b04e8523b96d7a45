"""What one step of the join brings forth: records of examples and marks, dead letters, counters.

Emissions of one kind between two marks are put together into records of bounded size. Where a
record ends depends on the step; the sequence of examples and marks does not.
"""

from __future__ import annotations

from collections.abc import Iterator

from streams.contract.events import Impression
from streams.contract.examples import ExampleBatch, Mark, encode_examples, encode_mark
from streams.join.dead_letters import DeadLetter, dead_letter
from streams.join.example_builder import Emission, build_batch
from streams.join.stats import JoinStats
from streams.log.event_log import Record

HARD_LIMIT_BYTES = 900_000
"""Records stay below this, whatever the estimate said: a Kafka broker takes 1 MB by default."""

_CANNOT_EXCEED_BYTES = HARD_LIMIT_BYTES // 9
"""An event of this size stays within the hard limit as an example: a 1-byte integer takes 8 in a column."""


class JoinOutput:
    """Collects one step's output. `records` and `dead_letters` are complete after `flush`."""

    def __init__(self, record_bytes: int = 500_000) -> None:
        self.records: list[bytes] = []
        self.dead_letters: list[DeadLetter] = []
        self.stats = JoinStats()
        self._record_bytes = record_bytes
        self._pending: list[Emission] = []
        self._pending_bytes = 0

    def emit(self, emission: Emission) -> None:
        """Adds examples."""
        self._count(emission)
        if self._pending and self._pending[0].kind != emission.kind:
            self.flush()
        self._pending.append(emission)
        self._pending_bytes += emission.weight_bytes
        if self._pending_bytes >= self._record_bytes:
            self.flush()

    def mark(self, mark: Mark) -> None:
        """Adds a mark behind all that was emitted before."""
        self.flush()
        self.records.append(encode_mark(mark))

    def bury(self, record: Record, reason: str, detail: str) -> None:
        """Adds a dead letter."""
        self.stats.dead_letters[reason] += 1
        self.dead_letters.append(dead_letter(record, reason, detail))

    def flush(self) -> None:
        """Turns what is pending into records."""
        if self._pending:
            self.records.extend(_encode_bounded(build_batch(self._pending)))
            self._pending, self._pending_bytes = [], 0

    def _count(self, emission: Emission) -> None:
        self.stats.examples[emission.kind] += len(emission.rows)
        if emission.correction:
            self.stats.corrections += len(emission.rows)
        elif emission.given:
            self.stats.positives += sum(row in emission.given for row in emission.rows)


class DiscardedOutput(JoinOutput):
    """Takes the output of events whose output is in the log already; keeps none of it."""

    def emit(self, emission: Emission) -> None:
        """Drops the examples."""

    def mark(self, mark: Mark) -> None:
        """Drops the mark."""

    def bury(self, record: Record, reason: str, detail: str) -> None:
        """Drops the dead letter."""


def fits(impression: Impression, num_bytes: int) -> bool:
    """Whether each single candidate of the impression fits into a record; `num_bytes` is the event's encoded size."""
    if num_bytes <= _CANNOT_EXCEED_BYTES:
        return True
    rows = range(len(impression.ad_ids))
    # "click" stands for any kind here: its name adds nothing to speak of.
    whole = Emission(kind="click", impression=impression, num_bytes=num_bytes, rows=rows, decided_ingest_ms=0)
    batch = build_batch([whole])
    if len(encode_examples(batch)) <= HARD_LIMIT_BYTES:
        return True
    return all(len(encode_examples(batch.slice(row, row + 1))) <= HARD_LIMIT_BYTES for row in rows)


def _encode_bounded(batch: ExampleBatch) -> Iterator[bytes]:
    data = encode_examples(batch)
    if len(data) <= HARD_LIMIT_BYTES:
        yield data
        return
    assert len(batch) > 1
    half = len(batch) // 2
    yield from _encode_bounded(batch.slice(0, half))
    yield from _encode_bounded(batch.slice(half, len(batch)))

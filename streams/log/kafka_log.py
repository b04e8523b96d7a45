"""The event log on Apache Kafka: transactions, consumer groups' offsets, read-committed reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import kafka
from kafka import IsolationLevel, OffsetSpec
from kafka import errors as kafka_errors

from streams.contract.errors import ConflictError
from streams.log.checks import (
    check_max_records,
    check_new_topic,
    check_offsets,
    check_sizes,
    out_of_range,
    unknown_partition,
    unknown_topic,
)
from streams.log.event_log import Append, Record, TopicPartition
from streams.log.kafka_client import connect
from streams.log.kafka_errors import retried, translated
from streams.log.kafka_groups import KafkaGroups
from streams.log.kafka_reader import KafkaReader
from streams.log.kafka_settings import KafkaSettings
from streams.log.kafka_writer import KafkaProducer, KafkaWriter
from streams.log.pending import Pending, TransactionalIds
from streams.log.per_thread import PerThread

_VISIBLE_POLL_SECONDS = 0.002
_VISIBLE_TIMEOUT_SECONDS = 2.0


class KafkaLog:
    """An EventLog on a Kafka cluster; one consumer a thread, one producer a transactional id."""

    def __init__(self, settings: KafkaSettings, address: str) -> None:
        self._settings = settings
        self._address = address
        self._admin = connect(kafka.KafkaAdminClient, settings)
        self._num_partitions: dict[str, int] = {}
        self._readers = PerThread(lambda: KafkaReader(settings, address, self._bounds), KafkaReader.close)
        self._writer = KafkaWriter(settings, address)
        self._groups = KafkaGroups(settings)
        self._ids = TransactionalIds(self._claim)

    @classmethod
    def open(cls, address: str) -> KafkaLog:
        """The log at a `kafka://` address (see KafkaSettings).

        Raises InputError for a wrong address or refused credentials, UnavailableError where no broker
        answers within `connect_timeout_seconds`.
        """
        settings = KafkaSettings.from_address(address)
        with translated(address):
            return cls(settings, address)

    @property
    def address(self) -> str:
        return self._address

    def create_topic(self, topic: str, partitions: int) -> None:
        check_new_topic(topic, partitions)
        with translated(self._address):
            try:
                self._admin.create_topics({topic: {"num_partitions": partitions}})
            except kafka_errors.TopicAlreadyExistsError:
                present = len(self.partitions(topic))
                if present != partitions:
                    raise ConflictError(f"the topic has {present} partitions", field=topic, value=partitions) from None
            self._admin.wait_for_topics([topic], timeout_ms=1000 * self._settings.request_timeout_seconds)

    def partitions(self, topic: str) -> list[TopicPartition]:
        with translated(self._address):
            described = self._retried(lambda: self._admin.describe_topics([topic]))[0]
        if described["error_code"] in (
            kafka_errors.UnknownTopicOrPartitionError.errno,
            kafka_errors.InvalidTopicError.errno,
        ):
            raise unknown_topic(topic)
        self._num_partitions[topic] = len(described["partitions"])
        return [TopicPartition(topic, partition) for partition in range(self._num_partitions[topic])]

    def append(self, records: Sequence[Append]) -> dict[TopicPartition, int]:
        check_sizes(records)
        self._check(record.partition for record in records)
        if not records:
            return {}
        with translated(self._address):
            ends = self._writer.append(records)
            self._wait_until_visible(ends)
        return ends

    @contextmanager
    def transaction(self, transactional_id: str) -> Iterator[Pending]:
        with self._ids.using(transactional_id) as producer:
            pending = Pending()
            yield pending
            if pending:
                self._check(record.partition for record in pending.records)
                self._check(partition for offsets in pending.offsets.values() for partition in offsets)
                with translated(self._address):
                    self._wait_until_visible(self._transact(transactional_id, producer, pending))

    def read(
        self,
        offsets: Mapping[TopicPartition, int],
        *,
        max_records: int = 1000,
        timeout_seconds: float = 0.0,
    ) -> list[Record]:
        check_max_records(max_records)
        self._check(offsets)
        with translated(self._address):
            return self._readers.get().read(offsets, max_records, timeout_seconds)

    def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        self._check(partitions)
        with translated(self._address):
            return self._list_offsets(partitions, OffsetSpec.LATEST, IsolationLevel.READ_COMMITTED)

    def begin_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        self._check(partitions)
        with translated(self._address):
            return self._list_offsets(partitions, OffsetSpec.EARLIEST)

    def commit_offsets(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        check_offsets(offsets)
        self._check(offsets)
        with translated(self._address):
            self._groups.commit(group, offsets)

    def committed_offsets(self, group: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        self._check(partitions)
        with translated(self._address):
            return self._groups.committed(group, partitions)

    def trim(self, before: Mapping[TopicPartition, int]) -> None:
        self._check(before)
        with translated(self._address):
            for partition, (begin, end, _) in self._bounds(before).items():
                if not 0 <= before[partition] <= end:
                    raise out_of_range(partition, before[partition], begin, end)
            if before:
                self._admin.delete_records({_theirs(partition): offset for partition, offset in before.items()})

    def close(self) -> None:
        self._readers.close()
        self._writer.close()
        self._groups.close()
        for producer in self._ids.release_all():
            producer.close()
        self._admin.close()

    def _check(self, partitions: Iterable[TopicPartition]) -> None:
        """Kafka's clients wait long for a partition that is not there, or make its topic; so it is looked up."""
        for partition in dict.fromkeys(partitions):
            if not 0 <= partition.partition < self._num_partitions.get(partition.topic, 0):
                self.partitions(partition.topic)
                if not 0 <= partition.partition < self._num_partitions[partition.topic]:
                    raise unknown_partition(partition)

    def _claim(self, transactional_id: str) -> KafkaProducer:
        with translated(self._address):
            return KafkaProducer(self._settings, self._address, transactional_id)

    def _transact(self, transactional_id: str, producer: KafkaProducer, pending: Pending) -> dict[TopicPartition, int]:
        try:
            return producer.transact(pending)
        except kafka_errors.ProducerFencedError:
            producer.abandon()
            with self._ids.fencing(transactional_id):
                raise self._ids.fenced(transactional_id) from None
        except Exception:
            # Its state is unknown; the next transaction claims the id anew, which settles it.
            self._ids.release(transactional_id)
            producer.abandon()
            raise

    def _wait_until_visible(self, ends: Mapping[TopicPartition, int]) -> None:
        """A commit is certain before its markers are written; readers see it after. An older open transaction
        of someone else hides it for longer, which is not waited for."""
        deadline = time.monotonic() + _VISIBLE_TIMEOUT_SECONDS
        while ends and time.monotonic() < deadline:
            try:
                stable = self._list_offsets(ends, OffsetSpec.LATEST, IsolationLevel.READ_COMMITTED)
            except kafka_errors.KafkaError:
                return  # It is written: an error here would make the writer doubt that.
            ends = {partition: end for partition, end in ends.items() if stable[partition] < end}
            if ends:
                time.sleep(_VISIBLE_POLL_SECONDS)

    def _retried(self, run: Callable[[], Any]) -> Any:
        return retried(run, self._settings.request_timeout_seconds)

    def _bounds(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int, int]]:
        partitions = list(partitions)
        begins = self._list_offsets(partitions, OffsetSpec.EARLIEST)
        committed = self._list_offsets(partitions, OffsetSpec.LATEST, IsolationLevel.READ_COMMITTED)
        written = self._list_offsets(partitions, OffsetSpec.LATEST)
        return {partition: (begins[partition], committed[partition], written[partition]) for partition in partitions}

    def _list_offsets(
        self,
        partitions: Iterable[TopicPartition],
        spec: OffsetSpec,
        isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
    ) -> dict[TopicPartition, int]:
        wanted = {partition: _theirs(partition) for partition in partitions}
        if not wanted:
            return {}
        specs = dict.fromkeys(wanted.values(), spec)
        found = self._retried(lambda: self._admin.list_partition_offsets(specs, isolation_level=isolation))
        return {partition: found[theirs].offset for partition, theirs in wanted.items()}


def _theirs(partition: TopicPartition) -> kafka.TopicPartition:
    return kafka.TopicPartition(partition.topic, partition.partition)

"""Reading from Kafka at given offsets, on one thread, without fetching anything twice.

The consumer fetches ahead for every partition it was ever asked for and the records wait in a
buffer here, so that partitions may be read by turns. A reader that goes on where it stopped
costs no request; any other offset is checked against the partition's bounds and sought.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import kafka
from kafka import errors as kafka_errors

from streams.log.checks import out_of_range
from streams.log.event_log import Record, TopicPartition
from streams.log.kafka_client import connect
from streams.log.kafka_errors import unavailable
from streams.log.kafka_settings import KafkaSettings

# A fetch that waits for one partition's next record holds up the others' behind it for so long.
_FETCH_WAIT_MS = 100
_FETCH_BYTES = 1 << 20
_BUFFER_BYTES = 2 << 20
_POLL_RECORDS = 2000
_POLL_SECONDS = 0.1

Bounds = Callable[[Iterable[TopicPartition]], Mapping[TopicPartition, tuple[int, int, int]]]
"""partition -> (oldest kept, end of what is committed, end of what is written)"""


@dataclass
class _Cursor:
    """What was fetched and not yet read. `next_offset` is where the caller is expected to go on."""

    next_offset: int
    records: deque[Record] = field(default_factory=deque)
    num_bytes: int = 0

    def put(self, record: Record) -> None:
        self.records.append(record)
        self.num_bytes += len(record.value)

    def take(self, max_records: int) -> list[Record]:
        taken = [self.records.popleft() for _ in range(min(max_records, len(self.records)))]
        self.num_bytes -= sum(len(record.value) for record in taken)
        if taken:
            self.next_offset = taken[-1].offset + 1
        return taken


class KafkaReader:
    """One thread's consumer: transactions that were aborted are never seen, open ones not yet."""

    def __init__(self, settings: KafkaSettings, address: str, bounds: Bounds) -> None:
        self._address = address
        self._bounds = bounds
        self._timeout_seconds = settings.request_timeout_seconds
        self._cursors: dict[TopicPartition, _Cursor] = {}
        self._consumer = connect(
            kafka.KafkaConsumer,
            settings,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            allow_auto_create_topics=False,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            max_partition_fetch_bytes=_FETCH_BYTES,
            metrics_enabled=False,
        )

    def read(self, offsets: Mapping[TopicPartition, int], max_records: int, timeout_seconds: float) -> list[Record]:
        """See EventLog.read. The partitions must exist."""
        deadline = time.monotonic() + timeout_seconds
        ends: dict[TopicPartition, int] = {}
        while True:
            self._place(offsets)
            found = [record for partition in sorted(offsets) for record in self._cursors[partition].take(max_records)]
            left = deadline - time.monotonic()
            if found:
                return found
            if left <= 0:
                ends = ends or {partition: end for partition, (_, end, _) in self._bounds(offsets).items()}
                if all(self._position(partition) >= end for partition, end in ends.items()):
                    return []
            if left < -self._timeout_seconds:
                raise unavailable(self._address, f"no records in {self._timeout_seconds:g} s though there are some")
            self._poll(min(left, _POLL_SECONDS) if left > 0 else _POLL_SECONDS)

    def close(self) -> None:
        """Ends the consumer's connections."""
        self._consumer.close(autocommit=False, timeout_ms=1000)

    def _place(self, offsets: Mapping[TopicPartition, int]) -> None:
        sought = {partition: offset for partition, offset in offsets.items() if not self._goes_on(partition, offset)}
        if not sought:
            return
        for partition, (begin, _, end) in self._bounds(sought).items():
            if not begin <= sought[partition] <= end:
                raise out_of_range(partition, sought[partition], begin, end)
        self._cursors |= {partition: _Cursor(offset) for partition, offset in sought.items()}
        self._consumer.assign([_theirs(partition) for partition in self._cursors])
        for partition, offset in sought.items():
            self._consumer.seek(_theirs(partition), offset)

    def _goes_on(self, partition: TopicPartition, offset: int) -> bool:
        """Whether the buffer, and the fetches behind it, begin with the first record at or behind the offset."""
        cursor = self._cursors.get(partition)
        if cursor is None or offset < cursor.next_offset:
            return False
        if cursor.records:
            return offset <= cursor.records[0].offset
        return offset <= self._position(partition)

    def _position(self, partition: TopicPartition) -> int:
        """Where the consumer fetches next; markers behind the last record are passed over."""
        position: int = self._consumer.position(_theirs(partition), timeout_ms=round(1000 * self._timeout_seconds))
        return position

    def _poll(self, timeout_seconds: float) -> None:
        self._pause_full()
        try:
            polled = self._consumer.poll(timeout_ms=1000 * timeout_seconds, max_records=_POLL_RECORDS)
        except kafka_errors.OffsetOutOfRangeError as error:
            self._forget(error.args[0])
            return
        for theirs, records in polled.items():
            partition = TopicPartition(theirs.topic, theirs.partition)
            cursor = self._cursors[partition]
            for record in records:
                cursor.put(Record(partition, record.offset, record.key, record.value or b"", record.timestamp))

    def _forget(self, partitions: Iterable[kafka.TopicPartition]) -> None:
        """Trimmed under our feet: their next read is checked and sought anew."""
        for theirs in partitions:
            self._cursors.pop(TopicPartition(theirs.topic, theirs.partition), None)
        self._consumer.assign([_theirs(partition) for partition in self._cursors])

    def _pause_full(self) -> None:
        for partition, cursor in self._cursors.items():
            pause = cursor.num_bytes >= _BUFFER_BYTES or len(cursor.records) >= _POLL_RECORDS
            (self._consumer.pause if pause else self._consumer.resume)(_theirs(partition))


def _theirs(partition: TopicPartition) -> kafka.TopicPartition:
    return kafka.TopicPartition(partition.topic, partition.partition)

"""Partitions, records and groups' offsets in the embedded log's tables; called inside a SQLite transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence

from streams.log.checks import out_of_range, unknown_partition
from streams.log.embedded_store import OFFSET_BITS
from streams.log.event_log import Append, Record, TopicPartition


class Rows:
    """Reads and writes rows on whatever connection is given; keeps the partitions' ids."""

    def __init__(self) -> None:
        self._partition_ids: dict[TopicPartition, int] = {}

    def id(self, connection: sqlite3.Connection, partition: TopicPartition) -> int:
        """The partition's number in this file, which never changes. NotFoundError where there is none."""
        known = self._partition_ids.get(partition)
        if known is not None:
            return known
        query = "SELECT id FROM partitions WHERE topic = ? AND partition = ?"
        row = connection.execute(query, (partition.topic, partition.partition)).fetchone()
        if row is None:
            raise unknown_partition(partition)
        self._partition_ids[partition] = row[0]
        return int(row[0])

    def insert(self, connection: sqlite3.Connection, records: Sequence[Append]) -> dict[TopicPartition, int]:
        """Appends the records; returns the offset behind each partition's last. NotFoundError as for `id`."""
        timestamp_ms = time.time_ns() // 1_000_000
        next_keys: dict[TopicPartition, int] = {}
        for partition in dict.fromkeys(record.partition for record in records):
            id = self.id(connection, partition)
            next_keys[partition] = (id << OFFSET_BITS) + bounds(connection, id)[1]
        rows = []
        for record in records:
            key = next_keys[record.partition]
            rows.append((key, record.key, record.value, timestamp_ms))
            next_keys[record.partition] = key + 1
        connection.executemany("INSERT INTO records (id, key, value, timestamp_ms) VALUES (?, ?, ?, ?)", rows)
        ends = {partition: key & ((1 << OFFSET_BITS) - 1) for partition, key in next_keys.items()}
        updates = [(end, self.id(connection, partition)) for partition, end in ends.items()]
        connection.executemany("UPDATE partitions SET next_offset = ? WHERE id = ?", updates)
        return ends

    def set_offsets(self, connection: sqlite3.Connection, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Sets the group's next offsets. NotFoundError as for `id`."""
        rows = [(group, self.id(connection, partition), offset) for partition, offset in offsets.items()]
        connection.executemany("INSERT OR REPLACE INTO group_offsets VALUES (?, ?, ?)", rows)

    def read(
        self, connection: sqlite3.Connection, partition: TopicPartition, offset: int, max_records: int
    ) -> list[Record]:
        """At most `max_records` from the offset on. InputError where it lies outside of what is kept."""
        id = self.id(connection, partition)
        begin, end = bounds(connection, id)
        if not begin <= offset <= end:
            raise out_of_range(partition, offset, begin, end)
        if offset == end:
            return []
        base = id << OFFSET_BITS
        query = "SELECT id, key, value, timestamp_ms FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
        rows = connection.execute(query, (base + offset, base + end, max_records))
        return [Record(partition, row[0] - base, row[1], row[2], row[3]) for row in rows]


def bounds(connection: sqlite3.Connection, id: int) -> tuple[int, int]:
    """(oldest offset kept, offset behind the last) of the partition with this id."""
    query = "SELECT begin_offset, next_offset FROM partitions WHERE id = ?"
    begin, end = connection.execute(query, (id,)).fetchone()
    return begin, end

"""The event log in one SQLite file (WAL): partitioned, durable, for many processes on one machine.

A transaction collects its appends and offsets in memory and writes them in one SQLite
transaction when it ends well, so a killed writer leaves nothing behind and no lock is held
while the body runs.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from streams.contract.errors import ConflictError
from streams.log.checks import (
    check_max_records,
    check_new_topic,
    check_offsets,
    check_sizes,
    out_of_range,
    unknown_topic,
)
from streams.log.embedded_rows import Rows, bounds
from streams.log.embedded_store import OFFSET_BITS, EmbeddedSettings, Store, atomic, translated
from streams.log.event_log import Append, Record, TopicPartition
from streams.log.pending import Pending, TransactionalIds
from streams.log.per_thread import PerThread

_SHORTEST_SLEEP_SECONDS = 0.0005
_LONGEST_SLEEP_SECONDS = 0.005
_TRIM_CHUNK = 10_000


class EmbeddedLog:
    """An EventLog on one machine's disk. Not to be carried over a fork: open it in the child."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._connections = PerThread(store.connect, sqlite3.Connection.close)
        self._rows = Rows()
        self._ids: TransactionalIds[int] = TransactionalIds(self._claim)

    @classmethod
    def open(cls, folder: str | Path, settings: EmbeddedSettings | None = None) -> EmbeddedLog:
        """The log in `folder`, made where it is missing.

        Raises InputError where the folder holds something else, UnavailableError where it cannot be used.
        """
        store = Store(Path(folder), settings or EmbeddedSettings())
        store.prepare()
        return cls(store)

    @property
    def address(self) -> str:
        return f"embedded:{self._store.folder}"

    def create_topic(self, topic: str, partitions: int) -> None:
        check_new_topic(topic, partitions)
        with self._writing() as connection:
            present = connection.execute("SELECT count(*) FROM partitions WHERE topic = ?", (topic,)).fetchone()[0]
            if present and present != partitions:
                raise ConflictError(f"the topic has {present} partitions", field=topic, value=partitions)
            if not present:
                rows = [(topic, partition) for partition in range(partitions)]
                connection.executemany("INSERT INTO partitions (topic, partition) VALUES (?, ?)", rows)

    def partitions(self, topic: str) -> list[TopicPartition]:
        with self._connected() as connection:
            query = "SELECT partition FROM partitions WHERE topic = ? ORDER BY partition"
            found = [TopicPartition(topic, row[0]) for row in connection.execute(query, (topic,))]
        if not found:
            raise unknown_topic(topic)
        return found

    def append(self, records: Sequence[Append]) -> dict[TopicPartition, int]:
        check_sizes(records)
        if not records:
            return {}
        with self._writing() as connection:
            return self._rows.insert(connection, records)

    @contextmanager
    def transaction(self, transactional_id: str) -> Iterator[Pending]:
        with self._ids.using(transactional_id) as epoch:
            pending = Pending()
            yield pending
            with self._ids.fencing(transactional_id), self._writing() as connection:
                self._check_epoch(connection, transactional_id, epoch)
                self._rows.insert(connection, pending.records)
                for group, offsets in pending.offsets.items():
                    self._rows.set_offsets(connection, group, offsets)

    def read(
        self,
        offsets: Mapping[TopicPartition, int],
        *,
        max_records: int = 1000,
        timeout_seconds: float = 0.0,
    ) -> list[Record]:
        check_max_records(max_records)
        deadline = time.monotonic() + timeout_seconds
        with self._connected() as connection:
            while True:
                # Taken before the query, so that a commit between the two still ends the wait.
                version = _data_version(connection)
                records = self._read_now(connection, offsets, max_records)
                if records or not _wait_for_change(connection, version, deadline):
                    return records

    def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {partition: end for partition, (_, end) in self._bounds(partitions).items()}

    def begin_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {partition: begin for partition, (begin, _) in self._bounds(partitions).items()}

    def commit_offsets(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        check_offsets(offsets)
        with self._writing() as connection:
            self._rows.set_offsets(connection, group, offsets)

    def committed_offsets(self, group: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        query = "SELECT partition_id, next_offset FROM group_offsets WHERE group_name = ?"
        with self._connected() as connection:
            committed = dict(connection.execute(query, (group,)).fetchall())
            ids = {partition: self._rows.id(connection, partition) for partition in partitions}
        return {partition: committed[id] for partition, id in ids.items() if id in committed}

    def trim(self, before: Mapping[TopicPartition, int]) -> None:
        for partition, offset in before.items():
            with self._writing() as connection:
                id = self._rows.id(connection, partition)
                begin, end = bounds(connection, id)
                if not 0 <= offset <= end:
                    raise out_of_range(partition, offset, begin, end)
                connection.execute("UPDATE partitions SET begin_offset = ? WHERE id = ?", (max(begin, offset), id))
            self._delete_before(id, offset)

    def close(self) -> None:
        self._connections.close()

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with translated(self._store.path):
            yield self._connections.get()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._connected() as connection, atomic(connection):
            yield connection

    def _bounds(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        with self._connected() as connection:
            return {partition: bounds(connection, self._rows.id(connection, partition)) for partition in partitions}

    def _read_now(
        self, connection: sqlite3.Connection, offsets: Mapping[TopicPartition, int], max_records: int
    ) -> list[Record]:
        records: list[Record] = []
        with atomic(connection, "DEFERRED"):
            for partition in sorted(offsets):
                records += self._rows.read(connection, partition, offsets[partition], max_records)
        return records

    def _claim(self, transactional_id: str) -> int:
        """The new epoch of the id: one more than any earlier user's."""
        statement = (
            "INSERT INTO epochs VALUES (?, 1) "
            "ON CONFLICT (transactional_id) DO UPDATE SET epoch = epoch + 1 RETURNING epoch"
        )
        with self._writing() as connection:
            return int(connection.execute(statement, (transactional_id,)).fetchone()[0])

    def _check_epoch(self, connection: sqlite3.Connection, transactional_id: str, epoch: int) -> None:
        query = "SELECT epoch FROM epochs WHERE transactional_id = ?"
        if connection.execute(query, (transactional_id,)).fetchone()[0] != epoch:
            raise self._ids.fenced(transactional_id)

    def _delete_before(self, id: int, offset: int) -> None:
        """In chunks, so that other writers get their turn; readers no longer look there."""
        base = id << OFFSET_BITS
        statement = (
            "DELETE FROM records WHERE id IN (SELECT id FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?)"
        )
        deleted = _TRIM_CHUNK
        while deleted == _TRIM_CHUNK:
            with self._writing() as connection:
                deleted = connection.execute(statement, (base, base + offset, _TRIM_CHUNK)).rowcount


def _data_version(connection: sqlite3.Connection) -> int:
    """A number that changes when another connection commits."""
    version: int = connection.execute("PRAGMA data_version").fetchone()[0]
    return version


def _wait_for_change(connection: sqlite3.Connection, version: int, deadline: float) -> bool:
    """True once another connection has committed, False at the deadline (`time.monotonic()` seconds)."""
    sleep_seconds = _SHORTEST_SLEEP_SECONDS
    while time.monotonic() < deadline:
        if _data_version(connection) != version:
            return True
        time.sleep(max(0.0, min(sleep_seconds, deadline - time.monotonic())))
        sleep_seconds = min(2 * sleep_seconds, _LONGEST_SLEEP_SECONDS)
    return False

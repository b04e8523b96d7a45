"""The event log: append batches to topic partitions, read from given offsets, commit a group's offsets.

Two implementations behind one protocol: `streams.log.kafka_log` and `streams.log.embedded_log`. Nothing
above knows which one it runs on. An offset is the place of the next record to read; offsets of a
partition rise, but may have gaps (Kafka's transaction markers), so only compare them. A reader
goes on at `last.offset + 1`; because of the gaps that need not equal the end offset when all is
read, so ask `at_end` instead of comparing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import xxhash


@dataclass(frozen=True, slots=True, order=True)
class TopicPartition:
    """One partition of one topic; written `topic[partition]` in messages."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


@dataclass(frozen=True, slots=True)
class Record:
    """One record as read. `timestamp_ms` is the wall clock of its append."""

    partition: TopicPartition
    offset: int
    key: bytes | None
    value: bytes
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Append:
    """One record to append."""

    partition: TopicPartition
    value: bytes
    key: bytes | None = None


@runtime_checkable
class Transaction(Protocol):
    """Appends and offset commits that become visible together, or not at all."""

    def append(self, records: Sequence[Append]) -> None:
        """Adds the records; invisible to readers until the transaction ends well."""

    def commit_offsets(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Sets the group's next offsets, as part of the transaction."""


@runtime_checkable
class EventLog(Protocol):
    """What every event log does. Safe to use from several threads; records in a partition keep their order.

    Not promised: an order between partitions; that `append` is visible to a reader before it
    returns to the writer's other threads; anything after `close`.
    Every method raises UnavailableError (retry_after_seconds) where the log cannot be reached.
    """

    @property
    def address(self) -> str:
        """The address it was opened with: `embedded:DIR` or `kafka://host:port,…`."""

    def create_topic(self, topic: str, partitions: int) -> None:
        """Makes the topic. Nothing happens where it exists with as many partitions; ConflictError where with others."""

    def partitions(self, topic: str) -> list[TopicPartition]:
        """The topic's partitions in order. NotFoundError where there is no such topic."""

    def append(self, records: Sequence[Append]) -> dict[TopicPartition, int]:
        """Appends durably, all or nothing; returns for each partition the offset behind its last record."""

    def transaction(self, transactional_id: str) -> AbstractContextManager[Transaction]:
        """One transaction. A newer user of the same id fences an older one, whose commit then raises ConflictError.

        Left by an exception, it is rolled back and the exception goes on. A log claims an id with
        its first transaction of it: what an earlier holder began is finished or undone by then. So
        a restarted writer claims its id (see `claim`) before it asks for its committed offsets.
        Raises ConflictError where this log has a transaction of the id open already.
        """

    def read(
        self,
        offsets: Mapping[TopicPartition, int],
        *,
        max_records: int = 1000,
        timeout_seconds: float = 0.0,
    ) -> list[Record]:
        """Committed records from the given offsets on, in partition order; at most `max_records` a partition.

        Waits up to `timeout_seconds` for at least one. An empty answer means that there was none
        when it was called. InputError where an offset lies before the oldest record kept or behind
        the end; NotFoundError where a partition does not exist.
        """

    def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset behind the last committed record of each partition."""

    def begin_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset of the oldest record kept in each partition."""

    def commit_offsets(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Sets the group's next offsets outside of any transaction."""

    def committed_offsets(self, group: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The group's next offsets; a partition without a commit is left out."""

    def trim(self, before: Mapping[TopicPartition, int]) -> None:
        """Deletes the records before the given offsets, for good; InputError where one lies behind the end."""

    def close(self) -> None:
        """Frees connections and files."""


MAX_RECORD_BYTES = 1_000_000
"""Largest key and value of one record together: a Kafka broker's default limit, less the headers."""

EVENTS = "events"
EXAMPLES = "examples"
MODEL_UPDATES = "model-updates"
RECOMMENDER_UPDATES = "recommender-updates"
DEAD_LETTERS = "dead-letters"


def partition_for(key: str, partitions: int) -> int:
    """The partition of a session (or another key): the same on every machine and in every run."""
    return xxhash.xxh3_64_intdigest(key.encode()) % partitions


def at_end(log: EventLog, offsets: Mapping[TopicPartition, int]) -> bool:
    """Whether no committed record stands at or behind the offsets, in any of their partitions."""
    return not log.read(offsets, max_records=1)


def claim(log: EventLog, transactional_id: str) -> None:
    """Fences every earlier user of the id and settles what it left: after this, its committed offsets are final."""
    with log.transaction(transactional_id):
        pass


def open_log(address: str) -> EventLog:
    """The log at `embedded:DIR` (or a path without a colon) or `kafka://host:port[,host:port]`. Else InputError."""
    from streams.contract.errors import InputError

    if address.startswith("kafka://"):
        from streams.log.kafka_log import KafkaLog

        return KafkaLog.open(address)
    folder = address.removeprefix("embedded:")
    if folder and (folder != address or ":" not in address):
        from streams.log.embedded_log import EmbeddedLog

        return EmbeddedLog.open(folder)
    raise InputError(
        "is no address of an event log", field="log", value=address, remedy="use embedded:DIR or kafka://HOST:PORT"
    )

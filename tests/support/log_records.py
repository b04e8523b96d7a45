"""Records for tests of event logs, and the types of what such tests are given."""

from __future__ import annotations

from collections.abc import Callable

from streams.log.event_log import Append, EventLog, Record, TopicPartition

NewTopic = Callable[[int], list[TopicPartition]]
"""Makes a topic of its own with so many partitions."""
OpenAnother = Callable[[], EventLog]
"""Opens the same log once more."""


def values(records: list[Record]) -> list[bytes]:
    """What the records hold."""
    return [record.value for record in records]


def appends(partition: TopicPartition, *texts: str) -> list[Append]:
    """One record a text."""
    return [Append(partition, text.encode()) for text in texts]

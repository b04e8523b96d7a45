"""What both event logs refuse, in the same words: bad topic names, oversized records, wrong numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from streams.contract.errors import InputError, NotFoundError, TooLargeError
from streams.log.event_log import MAX_RECORD_BYTES, Append, TopicPartition

_TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


def check_new_topic(topic: str, partitions: int) -> None:
    """Raises InputError where Kafka would not take the name, or there are no partitions."""
    if not _TOPIC_NAME.fullmatch(topic) or topic in (".", ".."):
        raise InputError("is not a topic name", field="topic", value=topic, remedy="use 1 to 249 of a-z A-Z 0-9 . _ -")
    if partitions < 1:
        raise InputError("a topic has at least one partition", field="partitions", value=partitions)


def check_sizes(records: Sequence[Append]) -> None:
    """Raises TooLargeError naming topic[partition] and size of a record beyond MAX_RECORD_BYTES."""
    for record in records:
        size = len(record.value) + len(record.key or b"")
        if size > MAX_RECORD_BYTES:
            raise TooLargeError(
                f"a record has {size} bytes where {MAX_RECORD_BYTES} are allowed",
                field=str(record.partition),
                remedy="split it over several records",
            )


def check_offsets(offsets: Mapping[TopicPartition, int]) -> None:
    """Raises InputError for an offset below zero."""
    for partition, offset in offsets.items():
        if offset < 0:
            raise InputError("an offset is not below zero", field=str(partition), value=offset)


def check_max_records(max_records: int) -> None:
    """Raises InputError where a read asks for no record at all."""
    if max_records < 1:
        raise InputError("ask for at least one record", field="max_records", value=max_records)


def unknown_topic(topic: str) -> NotFoundError:
    """The error for a topic that nobody created."""
    return NotFoundError("no such topic", field="topic", value=topic, remedy="create it first")


def unknown_partition(partition: TopicPartition) -> NotFoundError:
    """The error for a partition beyond those its topic has."""
    return NotFoundError("no such partition", field=str(partition), remedy="ask the log for the topic's partitions")


def out_of_range(partition: TopicPartition, offset: int, begin: int, end: int) -> InputError:
    """The error for an offset outside of what the partition keeps."""
    return InputError(
        f"offset out of range: the log keeps {begin} to {end}",
        field=str(partition),
        value=offset,
        remedy=f"start at {begin} (oldest kept) or {end} (end)",
    )

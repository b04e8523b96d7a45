"""A model's versions in the log: read on, and followed to the end while a generation is loaded."""

from __future__ import annotations

import logging
import time
from typing import Any

from serving.scorer.followed_generation import FollowedGeneration
from serving.scorer.log_link import LogLink
from streams.contract.errors import NotFoundError, UnavailableError
from streams.log.event_log import MODEL_UPDATES, EventLog, Record, TopicPartition

_LOG = logging.getLogger(__name__)
UPDATES = TopicPartition(MODEL_UPDATES, 0)
_READ_RECORDS = 64


def follow_up(
    link: LogLink, updates: TopicPartition, served: FollowedGeneration[Any], newest: int, timeout_seconds: float
) -> None:
    """Applies the log to its end, and at least up to version `newest`, which the store has parts of.

    Where the log is away a generation that is at `newest` will do. Raises UnavailableError.
    """
    try:
        _follow_up(link.log, updates, served, newest, timeout_seconds)
    except UnavailableError as error:
        if served.version < newest:
            raise
        _LOG.warning("answers begin stale: %s", error)


def _follow_up(
    log: EventLog, updates: TopicPartition, served: FollowedGeneration[Any], newest: int, timeout_seconds: float
) -> None:
    deadline = time.monotonic() + timeout_seconds
    served.next_offset = int(served.manifest.extra.get("updates_offset", served.generation.updates_offset))
    served.next_offset = max(served.next_offset, _oldest(log, updates))
    while True:
        records = read_updates(log, updates, served.next_offset)
        served.follow(records)
        served.apply_waiting()
        if not records and served.version >= newest:
            return
        if time.monotonic() > deadline:
            raise UnavailableError(f"version {newest} is in the store and not in {updates.topic}", field="log",
                                   value=log.address, remedy="see that both sides use one log")  # fmt: skip
        if not records:
            time.sleep(0.01)


def read_updates(log: EventLog, updates: TopicPartition, offset: int, timeout_seconds: float = 0.0) -> list[Record]:
    """The next records of the updates; none where nobody has made the topic yet.

    Raises UnavailableError, and InputError where the records at `offset` are kept no longer.
    """
    try:
        return log.read({updates: offset}, max_records=_READ_RECORDS, timeout_seconds=timeout_seconds)
    except NotFoundError:
        time.sleep(timeout_seconds)
        return []


def _oldest(log: EventLog, updates: TopicPartition) -> int:
    """The oldest record kept."""
    try:
        return log.begin_offsets([updates])[updates]
    except NotFoundError:
        return 0

"""When a learner's checkpoints are made, and what counts as saved.

keep_up, between two turns      the disk has the last one? it counts, and the log is told how far
                                steps or seconds are over, and there is something new? the next one begins
finish, behind the last turn    waits until the disk has all that was learnt
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from streams.checkpoints.store import CheckpointConfig, CheckpointStore
from streams.checkpoints.writer import CheckpointWriter
from streams.contract.columns import Array
from streams.contract.errors import UnavailableError
from streams.log.event_log import EventLog
from streams.turns.cursor import Cursor

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Present:
    """A learner as it is: its step, what of it is tensors and what is not, and where the log stands behind it."""

    step: int
    tensors: Mapping[str, Mapping[str, Array]]
    state: dict[str, Any]
    cursor: Cursor


class CheckpointKeeper:
    """Keeps one learner's checkpoints. For one thread; close it: it owns another."""

    def __init__(
        self,
        log: EventLog,
        store: CheckpointStore,
        config: CheckpointConfig,
        *,
        topic: str,
        group: str,
        present: Callable[[], Present],
    ) -> None:
        """`group` is the consumer group of `topic` under which the log learns how far checkpoints have come."""
        self._log, self._topic, self._group = log, topic, group
        self._config, self._present = config, present
        self._writer = CheckpointWriter(store)
        self._saved_cursor: Cursor | None = None
        self._saved_step = 0
        self._due_at = self._not_before = time.monotonic()
        self.name, self.seconds = "", 0.0
        """The newest checkpoint of this run that the disk has, and how long it took; empty before the first."""

    def begin(self, cursor: Cursor, *, saved_step: int) -> None:
        """The run begins at `cursor`, which needs no saving; the checkpoint it goes on from had that step, or 0."""
        self._saved_cursor, self._saved_step = cursor, saved_step
        self._due_at = time.monotonic() + self._config.every_seconds

    def keep_up(self, step: int, cursor: Cursor) -> None:
        """Counts what the disk has, and begins a checkpoint if one is due at that step and place in the log."""
        self._settle()
        if self._is_due(step, cursor):
            self._save()

    def finish(self, cursor: Cursor) -> None:
        """Waits until the disk has all up to `cursor`, or has refused it."""
        self._settle(wait=True)
        if cursor is not self._saved_cursor or not self.name:
            self._save()
            self._settle(wait=True)

    def close(self) -> None:
        """Waits for what is in flight and ends the thread."""
        self._writer.close()

    def _is_due(self, step: int, cursor: Cursor) -> bool:
        config, now = self._config, time.monotonic()
        if self._writer.is_busy or cursor is self._saved_cursor or now < self._not_before:
            return False
        by_steps = 0 < config.every_steps <= step - self._saved_step
        return by_steps or (config.every_seconds > 0 and now >= self._due_at)

    def _save(self) -> None:
        present = self._present()
        self._writer.begin(present.step, present.tensors, present.state, present.cursor)

    def _settle(self, *, wait: bool = False) -> None:
        """Takes account of a checkpoint that the disk has now. Where it refused, it is tried again later."""
        try:
            saved = self._writer.settle(wait=wait)
        except UnavailableError as error:
            _LOGGER.error("%s", error)
            self._not_before = time.monotonic() + error.retry_after_seconds
            return
        if saved is not None:
            self._saved_step, self._saved_cursor = saved.step, saved.cursor
            self.name, self.seconds = saved.name, saved.seconds
            self._due_at = time.monotonic() + self._config.every_seconds
            self._commit_offsets(saved.cursor)

    def _commit_offsets(self, cursor: Cursor) -> None:
        positions = zip(self._log.partitions(self._topic), cursor.positions, strict=True)
        try:
            self._log.commit_offsets(self._group, {partition: offset for partition, (offset, _) in positions})
        except UnavailableError as error:
            _LOGGER.warning("the log does not know of the newest checkpoint: %s", error)

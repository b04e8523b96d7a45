"""Checkpoints while training goes on: copied between two batches, written by a thread of its own.

    training thread   begin: copy ──> learns on ……………………………………> settle: it counts as saved
    own thread                └──> write, wait for the disk, name it ──┘

One is in flight at a time, so there is one copy at most. Until `settle` says that it is there, the one
before is the newest: a crash meanwhile resumes from that one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from streams.checkpoints.files import Content
from streams.checkpoints.store import CheckpointStore
from streams.contract.columns import Array
from streams.turns.cursor import Cursor


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint that the disk has: its name, the step and place in the log it holds, and how long it took."""

    name: str
    step: int
    cursor: Cursor
    seconds: float


class CheckpointWriter:
    """Writes one checkpoint after the other into a store. For one thread; close it: it owns another."""

    def __init__(self, store: CheckpointStore) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="freshet-checkpoint")
        self._in_flight: Future[Saved] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether one is in flight, or is written and not settled."""
        return self._in_flight is not None

    def begin(
        self, step: int, tensors: Mapping[str, Mapping[str, Array]], state: dict[str, Any], cursor: Cursor
    ) -> None:
        """Copies the tensors and begins to write; `state` must not be changed any more."""
        assert not self.is_busy, "one checkpoint at a time"
        began = time.monotonic()
        copies = {part: {name: np.array(tensor) for name, tensor in named.items()} for part, named in tensors.items()}
        self._in_flight = self._thread.submit(self._write, Content(step, copies, state), cursor, began)

    def settle(self, *, wait: bool = False) -> Saved | None:
        """What has been written since `begin`; None where nothing is in flight, or it still is and `wait` is False.

        Raises UnavailableError where the disk refused it: then nothing of it is there.
        """
        if self._in_flight is None or not (wait or self._in_flight.done()):
            return None
        written, self._in_flight = self._in_flight, None
        return written.result()

    def close(self) -> None:
        """Waits for what is in flight, whose outcome is known no more, and ends the thread."""
        self._thread.shutdown()

    def _write(self, content: Content, cursor: Cursor, began: float) -> Saved:
        name = self._store.save(content)
        return Saved(name, content.step, cursor, time.monotonic() - began)

"""Stores of checkpoints whose disk is slow or full."""

from __future__ import annotations

import threading
from pathlib import Path

from streams.checkpoints.files import Content
from streams.checkpoints.store import CheckpointStore
from streams.contract.errors import UnavailableError


class SlowDisk(CheckpointStore):
    """A store whose disk takes nothing until it is let; keeps account of how many writes there are at once."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, keep=100)
        self.let, self.most_at_once = threading.Event(), 0
        self._at_once = 0

    def save(self, content: Content) -> str:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        assert self.let.wait(60)
        self._at_once -= 1
        return super().save(content)


class RefusingDisk(CheckpointStore):
    """A store whose disk is full for the first few writes."""

    refusals = 2
    retry_after_seconds = 0.0

    def save(self, content: Content) -> str:
        if self.refusals:
            self.refusals -= 1
            raise UnavailableError("No space left on device", field="checkpoints",
                                   retry_after_seconds=self.retry_after_seconds)  # fmt: skip
        return super().save(content)

"""What any served model has in common: the generation that answers now, and a lock for batches and versions."""

from __future__ import annotations

import threading
import time
from typing import Any, Generic, TypeVar

from serving.scorer.followed_generation import FollowedGeneration

S = TypeVar("S", bound=FollowedGeneration[Any])


class Live(Generic[S]):
    """Answers with the generation that `activate` gave it. Safe to use from several threads."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._served: S | None = None
        self._followed_at = time.monotonic()

    @property
    def served(self) -> S | None:
        """The generation that answers now."""
        return self._served

    @property
    def silent_seconds(self) -> float:
        """How long the event log has not answered."""
        return time.monotonic() - self._followed_at

    def activate(self, served: S) -> None:
        """Answers with `served` from the next batch on, rows and dense parameters together."""
        with self.lock:
            self._served = served

    def apply_if_idle(self, served: S) -> bool:
        """Applies the versions that wait unless a batch is under way; whether any was applied."""
        if not served.num_waiting or not self.lock.acquire(blocking=False):
            return False
        try:
            served.apply_waiting()
        finally:
            self.lock.release()
        return True

    def note_followed(self) -> None:
        """The event log answered just now."""
        self._followed_at = time.monotonic()

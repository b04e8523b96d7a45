"""What any served model has in common: the generation that answers now, a lock for batches and versions, threads."""

from __future__ import annotations

import threading
import time
from typing import Any, Generic, Protocol, TypeVar

from serving.scorer.followed_generation import FollowedGeneration

S = TypeVar("S", bound=FollowedGeneration[Any])
_LOOK_SECONDS = 0.005


class Threads(Protocol):
    """What keeps a model fresh (serving/scorer/links.py)."""

    def start(self) -> None:
        """Starts them."""

    def close(self) -> None:
        """Ends them, and frees their connections."""


class Live(Generic[S]):
    """Answers with the generation that `activate` gave it. Safe to use from several threads.

    Alone it stays as it is; `keep_fresh` has threads bring it generations and versions, until `close`.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._served: S | None = None
        self._followed_at = time.monotonic()
        self._threads: Threads | None = None

    def keep_fresh(self, threads: Threads) -> None:
        """Starts what brings it generations and versions, once in its life."""
        assert self._threads is None
        self._threads = threads
        threads.start()

    def close(self) -> None:
        """Ends the threads and frees their connections."""
        if self._threads is not None:
            self._threads.close()

    @property
    def version(self) -> int:
        """The version applied; 0 before the first."""
        served = self._served
        return 0 if served is None else served.version

    def wait_for_version(self, version: int, timeout_seconds: float) -> bool:
        """Waits until at least `version` is applied; False where it does not come in time."""
        deadline = time.monotonic() + timeout_seconds
        while self.version < version:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_SECONDS)
        return True

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

"""The two threads that keep a served model fresh, and what they are connected to; the same for every model."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Generic

from serving.scorer.follower import Follower
from serving.scorer.live import Live, S
from serving.scorer.log_link import LogLink
from serving.scorer.store_link import StoreLink
from serving.scorer.watcher import Watcher
from streams.log.event_log import TopicPartition
from streams.store.row_store import RowStore


class Links(Generic[S]):
    """Use `start`, then `close`; log and store may be away."""

    def __init__(
        self,
        model: Live[S],
        store: StoreLink,
        log: LogLink,
        updates: TopicPartition,
        load: Callable[[RowStore, LogLink, int], S],
        *,
        log_poll_seconds: float,
        live_poll_seconds: float,
    ) -> None:
        """`load` gives the generation of a number, at one version and warm."""
        self._store = store
        self._log = log
        self._load = load
        self._watcher = Watcher(model, store, live_poll_seconds, self._load_settled)
        self._follower = Follower(model, log, updates, log_poll_seconds, self._watcher.wake)

    def start(self) -> None:
        """Starts the threads."""
        self._watcher.start()
        self._follower.start()

    def close(self) -> None:
        """Ends the threads and frees the connections."""
        self._follower.stop()
        self._watcher.stop()
        self._store.close()
        self._log.close()

    def _load_settled(self, number: int) -> S:
        served = self._load(self._store.store, self._log, number)
        # What was just loaded stays: a collection that walks over it would show in the slowest answers.
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        return served

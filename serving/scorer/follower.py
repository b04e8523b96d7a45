"""A thread that brings the versions of a model from the log to the generation that answers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic

from serving.scorer.live import Live, S
from serving.scorer.log_link import LogLink
from serving.scorer.updates import read_updates
from streams.contract.errors import FreshetError, UnavailableError
from streams.log.event_log import TopicPartition

_LOG = logging.getLogger(__name__)
_PAUSE_SECONDS = 0.05
_RETRY_SECONDS = 0.001


class Follower(Generic[S]):
    """Reads, prepares off the batches' path, applies between two batches."""

    def __init__(
        self, model: Live[S], log: LogLink, updates: TopicPartition, poll_seconds: float, on_applied: Callable[[], None]
    ) -> None:
        """`on_applied` is called, on this thread, after versions were applied or a generation broke."""
        self._model = model
        self._log = log
        self._updates = updates
        self._poll_seconds = poll_seconds
        self._on_applied = on_applied
        self._stopped = threading.Event()
        self._away = False
        self._thread = threading.Thread(target=self._run, name=f"{updates.topic}-follower", daemon=True)

    def start(self) -> None:
        """Begins to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; returns when it has ended."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            served = self._model.served
            if served is None or served.broken:
                self._model.note_followed()
                self._stopped.wait(_PAUSE_SECONDS)
                continue
            try:
                self._step(served)
            except UnavailableError as error:
                self._note_away(error)
            except FreshetError as error:
                _LOG.warning("generation %d must be loaded again: %s", served.generation.generation, error)
                self._give_up(served)
            except Exception:
                # A follower that ends would leave scores that grow stale for ever.
                _LOG.exception("generation %d must be loaded again", served.generation.generation)
                self._give_up(served)

    def _step(self, served: S) -> None:
        """Never waits for the lock: a batch that holds it may be waiting for the next version itself."""
        patience = _RETRY_SECONDS if served.num_waiting else self._poll_seconds
        records = read_updates(self._log.log, self._updates, served.next_offset, patience)
        self._model.note_followed()
        self._away = False
        served.follow(records)
        if self._model.apply_if_idle(served) or records:
            self._on_applied()

    def _give_up(self, served: S) -> None:
        served.broken = True
        self._on_applied()
        self._stopped.wait(_PAUSE_SECONDS)

    def _note_away(self, error: UnavailableError) -> None:
        if not self._away:
            _LOG.warning("scores grow stale: %s", error)
        self._away = True
        time.sleep(min(_PAUSE_SECONDS, error.retry_after_seconds))

"""A thread that watches the store: the live pointer, how far the rows are written; and reports what was applied."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic

from serving.scorer.live import Live, S
from serving.scorer.store_link import StoreLink
from streams.contract.errors import FreshetError

_LOG = logging.getLogger(__name__)
_PAUSE_SECONDS = 0.5


class Watcher(Generic[S]):
    """Loads the live generation beside the one that answers, and swaps them between two batches."""

    def __init__(self, model: Live[S], link: StoreLink, poll_seconds: float, load: Callable[[int], S]) -> None:
        self._model = model
        self._link = link
        self._poll_seconds = poll_seconds
        self._load = load
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._last_error = ""
        self._lost = False
        self._thread = threading.Thread(target=self._run, name=f"{link.model}-watcher", daemon=True)

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def wake(self) -> None:
        """Looks at once instead of at the next turn."""
        self._wake.set()

    def stop(self) -> None:
        """Ends the thread; returns when it has ended."""
        self._stopped.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._step()
                self._last_error = ""
            except FreshetError as error:
                self._note(error)
                self._stopped.wait(_PAUSE_SECONDS)
            except Exception:
                # A watcher that ends would leave a model that never changes again, without a word.
                _LOG.exception("looking at the store failed; trying again")
            self._wake.wait(self._poll_seconds)
            self._wake.clear()

    def _step(self) -> None:
        live = self._link.live_generation()
        served = self._model.served
        if live is None:
            # What was learnt of a store that lost its rows, ids without one among it, is loaded again.
            self._lost = True
            self._link.lose()
            return
        if served is None or served.broken or self._lost or served.generation.generation != live:
            served = self._load(live)
            with self._model.lock:
                self._model.activate(served)
                if self._lost:
                    self._link.regain()
            self._lost = False
        self._report(served)
        head = self._link.store.head(served.generation.generation)
        if head is not None:
            with self._model.lock:
                served.release(head.version)

    def _report(self, served: S) -> None:
        for version in sorted(served.applied_ms):
            self._link.store.report_applied(served.generation.generation, version, served.applied_ms[version])
            del served.applied_ms[version]

    def _note(self, error: FreshetError) -> None:
        if str(error) != self._last_error:
            _LOG.warning("cannot read the store or its live generation: %s", error)
        self._last_error = str(error)

"""Reads, decodes and prepares batches ahead in one thread, so that this overlaps with the training step."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

from streams.turns.source import ExampleSource
from trainer.prepare import OnBadRequest, Prepared, Preparer

_PATIENCE_SECONDS = 0.1


class Prefetcher:
    """An iterator of Prepared over a source; ends behind the one that is `last`. Close it: it owns a thread.

    Nothing is lost by closing early: what was read ahead has no checkpoint behind it.
    """

    def __init__(
        self,
        source: ExampleSource,
        prepare: Preparer,
        *,
        on_bad_request: OnBadRequest,
        stop: threading.Event,
        depth: int = 4,
    ) -> None:
        """Reads up to `depth` batches ahead. `stop` must be the event that stops the source too."""
        self._source = source
        self._prepare = prepare
        self._on_bad_request = on_bad_request
        self._stop = stop
        self._ready: queue.Queue[Prepared | BaseException] = queue.Queue(maxsize=depth)
        self._thread = threading.Thread(target=self._run, name="freshet-prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Prepared | None]:
        """Batches in order, None whenever none came for a moment. Raises what the thread met; ends once stopped."""
        while not self._stop.is_set():
            try:
                item = self._ready.get(timeout=_PATIENCE_SECONDS)
            except queue.Empty:
                yield None
                continue
            if isinstance(item, BaseException):
                raise item
            yield item
            if item.last:
                return

    def close(self) -> None:
        """Stops the source and waits for the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                prepared = self._next()
                self._put(prepared)
                if prepared.last:
                    return
        except BaseException as error:
            self._put(error)

    def _next(self) -> Prepared:
        turn = self._source.next_turn()
        if turn is None:
            return Prepared(None, self._source.cursor, last=True)
        if turn.examples is None:
            return Prepared(None, turn.cursor)
        return Prepared(self._prepare.good(turn.examples, self._on_bad_request), turn.cursor)

    def _put(self, item: Prepared | BaseException) -> None:
        while not self._stop.is_set():
            try:
                self._ready.put(item, timeout=_PATIENCE_SECONDS)
                return
            except queue.Full:
                continue

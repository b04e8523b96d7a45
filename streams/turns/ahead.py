"""What comes of a source, made ahead by a thread, so that a learner overlaps with it and never waits for it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

_PATIENCE_SECONDS = 0.1
_T = TypeVar("_T")


class _End:
    """Nothing follows."""


class Ahead(Generic[_T]):
    """An iterator over `items`, which a thread runs ahead. Close it: it owns the thread.

    Nothing is lost by closing early: what was made ahead has no checkpoint behind it.
    """

    def __init__(self, items: Iterator[_T], stop: threading.Event, *, depth: int = 4) -> None:
        """At most `depth` items are made ahead. `stop` must be the event that stops the source, too."""
        self._items = items
        self._stop = stop
        self._ready: queue.Queue[_T | BaseException | _End] = queue.Queue(maxsize=depth)
        self._thread = threading.Thread(target=self._run, name="freshet-ahead", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[_T | None]:
        """Items in order, None whenever none came for a moment. Raises what the thread met; ends once stopped."""
        while not self._stop.is_set():
            try:
                item = self._ready.get(timeout=_PATIENCE_SECONDS)
            except queue.Empty:
                yield None
                continue
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, _End):
                return
            yield item

    def close(self) -> None:
        """Stops the source and waits for the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            for item in self._items:
                self._put(item)
                if self._stop.is_set():
                    return
            self._put(_End())
        except BaseException as error:
            self._put(error)

    def _put(self, item: _T | BaseException | _End) -> None:
        while not self._stop.is_set():
            try:
                self._ready.put(item, timeout=_PATIENCE_SECONDS)
                return
            except queue.Full:
                continue

"""Turns read ahead by a thread, so that a learner never waits where nothing comes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

from streams.turns.source import ExampleSource, Turn

_PATIENCE_SECONDS = 0.1


class TurnsAhead:
    """An iterator of turns over a source. Close it: it owns a thread. What was read ahead is read again later."""

    def __init__(self, source: ExampleSource, stop: threading.Event, *, depth: int = 4) -> None:
        """Reads up to `depth` turns ahead. `stop` must be the event that stops the source too."""
        self._source = source
        self._stop = stop
        self._ready: queue.Queue[Turn | BaseException | None] = queue.Queue(maxsize=depth)
        self._thread = threading.Thread(target=self._run, name="freshet-turns", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Turn | None]:
        """Turns in order, None whenever none came for a moment. Raises what the thread met; ends once stopped."""
        while not self._stop.is_set():
            try:
                turn = self._ready.get(timeout=_PATIENCE_SECONDS)
            except queue.Empty:
                yield None
                continue
            if isinstance(turn, BaseException):
                raise turn
            if turn is None:
                return
            yield turn

    def close(self) -> None:
        """Stops the source and waits for the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                turn = self._source.next_turn()
                self._put(turn)
                if turn is None:
                    return
        except BaseException as error:
            self._put(error)

    def _put(self, turn: Turn | BaseException | None) -> None:
        while not self._stop.is_set():
            try:
                self._ready.put(turn, timeout=_PATIENCE_SECONDS)
                return
            except queue.Full:
                continue

"""A worker that is told to end: SIGTERM and SIGINT stop it between two steps."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGER = logging.getLogger(__name__)


@contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[threading.Event]:
    """Sets `stop` on SIGTERM and SIGINT while the body runs; only in the main thread.

    Gives an event that nothing but a signal sets, while `stop` is set by the end of the stream, too.
    """
    signalled = threading.Event()

    def on_signal(number: int, frame: object) -> None:
        _LOGGER.info("%s: stopping after a checkpoint", signal.Signals(number).name)
        signalled.set()
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield signalled
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

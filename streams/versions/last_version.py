"""The end of a run that publishes: what was learnt since the last version becomes one more, if that is soon done.

A run whose stream has ended waits long for a log or a store that is away. One that was told to end
waits a few seconds: who sent the signal kills what does not end, and what is not published now is
learnt and checkpointed all the same, and published after the next start.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from streams.versions.publish import ThreadedPublisher

_PATIENCE_SECONDS = 30.0
_PATIENCE_AFTER_SIGNAL_SECONDS = 4.0
_DRAIN_SECONDS = 10.0
_DRAIN_AFTER_SIGNAL_SECONDS = 1.0
_POLL_SECONDS = 0.05


def publish_last(
    step: int, offer: Callable[[], bool], publisher: ThreadedPublisher, signalled: threading.Event
) -> None:
    """Offers what was learnt up to `step` until it is committed, refused, or patience ends.

    `offer` tells whether a delta was taken; `signalled` shortens the wait at any time.
    Raises ConflictError where a newer publisher took over.
    """
    began = time.monotonic()
    publisher.wait_until_idle(_POLL_SECONDS)
    while publisher.last_step() < step:
        if publisher.due() and not offer():
            return
        patience = _PATIENCE_AFTER_SIGNAL_SECONDS if signalled.is_set() else _PATIENCE_SECONDS
        if time.monotonic() - began > patience:
            return
        time.sleep(_POLL_SECONDS)


def close_publisher(publisher: ThreadedPublisher, signalled: threading.Event) -> None:
    """Closes it, with less time for what is in flight where the process was told to end."""
    publisher.close(_DRAIN_AFTER_SIGNAL_SECONDS if signalled.is_set() else _DRAIN_SECONDS)

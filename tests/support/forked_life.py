"""One life of a process under test: a fork that tells of every turn, and that may be killed after some."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


def live_once(live: Callable[[int], None], kill_after: int | None, wait: Callable[[int], None]) -> bool:
    """Whether the fork came to its end. `live` writes a byte a turn to the pipe that it is given.

    After `kill_after` turns (None: never) `wait` is given the fork's number and returns when it is to be killed.
    """
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        live(told)
        os._exit(0)
    os.close(told)
    if kill_after is not None:
        for _ in range(kill_after):
            os.read(heard, 1)
        wait(child)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(heard)
    if status not in (0, signal.SIGKILL):
        raise SystemExit(f"the process under test ended with status {status}")
    return status == 0

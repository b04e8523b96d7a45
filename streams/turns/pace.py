"""How fast a learner comes along, and when it tells of it."""

from __future__ import annotations

import time


class Pace:
    """Of one run, from `begin` on, by the monotonic clock."""

    def __init__(self, tell_seconds: float) -> None:
        """`tell_seconds`: how long it is silent at least."""
        self._tell_seconds = tell_seconds
        self._before = 0
        self._told_step = -1
        self._began = self._told_at = time.monotonic()

    def begin(self, count: int) -> None:
        """The run begins, with as many examples behind it."""
        self._before = count
        self._began = self._told_at = time.monotonic()

    def per_second(self, count: int) -> float:
        """How many came a second since the run began, where so many are behind it now."""
        seconds = time.monotonic() - self._began
        return (count - self._before) / seconds if seconds > 0 else 0.0

    def tells(self, step: int) -> bool:
        """Whether it is time to tell of that step: once each, and of the first even where it is that of the start."""
        now = time.monotonic()
        due = step != self._told_step and now - self._told_at >= self._tell_seconds
        if due:
            self._told_step, self._told_at = step, now
        return due

"""Which requests of a batch can still be answered in time, judged by how long passes took lately.

A language model that is asked for more than it can do would otherwise answer everybody late: whoever waited longest is
let go, so that as many as possible are answered, and who is let go hears of it at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streams.contract.columns import Array

_NEWEST_SHARE = 0.2


class Pace:
    """Seconds that one request's share of a pass takes: the newest passes count most."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """0 before the first pass."""

    def took(self, seconds: float, num_requests: int) -> None:
        """A pass of so many requests has ended."""
        newest = seconds / max(1, num_requests)
        self.seconds = newest if not self.seconds else self.seconds + _NEWEST_SHARE * (newest - self.seconds)

    def in_time(self, answer_by_ms: Sequence[int], now_ms: int) -> Array:
        """(N,) bool: the most requests that one pass can answer by their times; a time of 0 is none.

        Of those that are not late already one is taken in any case, for else a slow pass would be the last.
        """
        left_seconds = np.array([(by - now_ms) / 1000 if by else np.inf for by in answer_by_ms])
        most_left = np.argsort(-left_seconds, kind="stable")
        needed = self.seconds * np.arange(1, len(left_seconds) + 1)
        fits = np.flatnonzero(left_seconds[most_left] >= needed)
        number = max(int(fits[-1]) + 1 if len(fits) else 0, 1)
        taken = np.zeros(len(left_seconds), dtype=np.bool_)
        taken[most_left[:number]] = True
        return taken & (left_seconds > 0)

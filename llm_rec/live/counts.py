"""How often each item was liked of late: the popularity model, and what moves the items' biases.

share_j = (c_j + a) / sum_i (c_i + a)      c_j: likes of item j, each halved every half-life; a: smoothing
"""

from __future__ import annotations

import numpy as np

from llm_rec.baselines.popularity import DAY_MS
from streams.contract.columns import Array


class LikeCounts:
    """Decayed counts (J,) float64 as of one time, which never goes back."""

    def __init__(self, counts: Array, newest_ms: int, *, half_life_days: float, smoothing: float) -> None:
        self.counts = counts.astype(np.float64)
        self.newest_ms = newest_ms
        self._half_life_ms = half_life_days * DAY_MS
        self._smoothing = smoothing

    def grow(self, num_items: int) -> None:
        """Makes room for items without a like."""
        self.counts = np.concatenate([self.counts, np.zeros(num_items - len(self.counts))])

    def advance(self, time_ms: int) -> None:
        """Lets time pass. The first time ever told only starts the clock."""
        if self.newest_ms and time_ms > self.newest_ms:
            self.counts *= 0.5 ** ((time_ms - self.newest_ms) / self._half_life_ms)
        self.newest_ms = max(self.newest_ms, time_ms)

    def add(self, items: Array) -> None:
        """One like each of item numbers (L,)."""
        np.add.at(self.counts, items, 1.0)

    def log_shares(self) -> Array:
        """ln share_j (J,) float64."""
        smoothed = self.counts + self._smoothing
        shares: Array = np.log(smoothed) - np.log(smoothed.sum())
        return shares

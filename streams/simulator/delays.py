"""How long after the impression a click is heard of: mostly soon, sometimes very late.

A mixture: exponential with probability 1 - slow_share, log-normal with slow_share. Delays of this
shape are what the delayed-feedback literature models (Chapelle, KDD 2014: exponential; later work
finds the tail heavier).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class DelayConfig:
    """Mean of the fast part; share, median and log-scale sigma of the slow part."""

    fast_mean_seconds: float = 5.0
    slow_share: float = 0.1
    slow_median_seconds: float = 120.0
    slow_sigma: float = 1.0

    def share_beyond(self, seconds: float) -> float:
        """The probability of a delay longer than `seconds` (> 0)."""
        fast = math.exp(-seconds / self.fast_mean_seconds)
        z = math.log(seconds / self.slow_median_seconds) / self.slow_sigma
        slow = 0.5 * math.erfc(z / math.sqrt(2.0))
        return (1.0 - self.slow_share) * fast + self.slow_share * slow


def draw_delays_ms(config: DelayConfig, rng: np.random.Generator, number: int) -> npt.NDArray[np.int64]:
    """Delays (number,) in milliseconds, 1 or more."""
    fast = rng.exponential(config.fast_mean_seconds, number)
    slow = rng.lognormal(math.log(config.slow_median_seconds), config.slow_sigma, number)
    seconds = np.where(rng.random(number) < config.slow_share, slow, fast)
    return np.maximum(1, seconds * 1000.0).astype(np.int64)

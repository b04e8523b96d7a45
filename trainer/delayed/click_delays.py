"""How long clicks take, estimated from the examples as they come, while many are still to come.

    impressions      arrivals (time, how many)          exposure of bin b: time that impressions have spent at
    ─────────────>   ages now - time  ───────────────>  ages within the bin, however young they are now
    clicks           delay ──> bin: D_b                 rate_b = D_b / exposure_b, clicks an impression a second

Counting delays alone would favour short ones: of a young impression only they can have come. Dividing by the
exposure is what a life table does with lives that are cut off by the end of the study. Bins are a factor
sqrt(2) wide; both sides are weighted by the age of the impression, halved every `half_life_ms`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from streams.contract.columns import Array
from streams.contract.examples import ExampleBatch

Floats = npt.NDArray[np.float64]

EDGES_SECONDS: Floats = np.concatenate([[0.0], 2.0 ** (np.arange(41) / 2)])
"""0, 1, 1.4, 2, ... 2^20 seconds, which are twelve days."""
_LO, _WIDTH = EDGES_SECONDS[:-1], np.diff(EDGES_SECONDS)
_MOST_ARRIVALS = 4096
_LEAST_EXPOSED = 0.05
"""A bin through which less than this share of the impressions has come says nothing yet."""
_REPORTED_SECONDS = (1, 10, 60, 600, 3600, 21_600, 86_400)
_LEAST_GAIN = 0.05
"""A window is worth doubling while that share of all clicks more would be within it."""


class ClickDelays:
    """Counts of clicks by delay and of impressions by age; of bounded size. Times are the data's clock."""

    def __init__(self, half_life_ms: int = 86_400_000) -> None:
        self._half_life_ms = half_life_ms
        self._now_ms = 0
        self._clicks = np.zeros(len(_LO))
        self._times_ms = np.zeros(0, dtype=np.int64)
        self._counts = np.zeros(0)

    def add(self, examples: ExampleBatch) -> None:
        """E examples as the join emitted them, corrections among them."""
        times_ms, is_first = examples.event_time_ms[examples.request_index], ~examples.correction
        clicked = (examples.label > 0.5) & (examples.delay_ms >= 0)
        delays_ms = examples.delay_ms[clicked]
        heard_ms = (times_ms[clicked] + delays_ms).max(initial=0)
        newest_ms = int(max(times_ms.max(), heard_ms, examples.decided_time_ms.max()))
        self._advance(newest_ms)
        self._add_clicks(times_ms[clicked], delays_ms)
        times, counts = np.unique(times_ms[is_first] // 1000 * 1000, return_counts=True)
        self._times_ms = np.concatenate([self._times_ms, times])
        self._counts = np.concatenate([self._counts, counts])
        if len(self._times_ms) > _MOST_ARRIVALS:
            self._merge()

    def share_within(self, seconds: float) -> float:
        """The share of clicks that come within so many seconds; nan before there is a click."""
        heard, horizon = self._cumulative()
        if not heard[-1]:
            return math.nan
        return float(np.interp(min(seconds, horizon), EDGES_SECONDS, heard) / heard[-1])

    def window_for(self, share: float) -> float:
        """The seconds within which that share of clicks comes; nan before there is a click."""
        heard, _ = self._cumulative()
        if not heard[-1]:
            return math.nan
        rises = np.concatenate([[True], np.diff(heard) > 0])
        return float(np.interp(share * heard[-1], heard[rises], EDGES_SECONDS[rises]))

    def suggested_window(self) -> float:
        """Seconds: the first window with half of the clicks whose doubling would catch less than 5 % of them more.

        nan before there is a click.
        """
        least = self.window_for(0.5)
        if math.isnan(least):
            return math.nan
        for seconds in EDGES_SECONDS[least <= EDGES_SECONDS].tolist():
            if self.share_within(2 * seconds) - self.share_within(seconds) < _LEAST_GAIN:
                return float(seconds)
        return float(EDGES_SECONDS[-1])

    def hazard(self) -> Floats:
        """(B,) for each bin of EDGES_SECONDS: of the clicks that are still to come, how many come a second."""
        heard, _ = self._cumulative()
        to_come = heard[-1] - (heard[:-1] + heard[1:]) / 2
        hazard: Floats = np.divide(self._rates()[0], to_come, out=np.zeros(len(_LO)), where=to_come > 0)
        return hazard

    def as_dict(self) -> dict[str, Any]:
        """As `--json` has it; empty before there is a click. Beyond `horizon_seconds` nothing is known yet."""
        heard, horizon = self._cumulative()
        if not heard[-1]:
            return {}
        hazard = zip(EDGES_SECONDS.tolist(), self.hazard().tolist(), strict=False)
        return {
            "horizon_seconds": horizon,
            "share_within_seconds": {str(s): self.share_within(s) for s in _REPORTED_SECONDS if s <= horizon},
            "suggested_window_seconds": (suggested := self.suggested_window()),
            "suggested_window_share": self.share_within(suggested),
            "hazard_per_second": {f"{start:.3g}": rate for start, rate in hazard if start < horizon},
        }

    def state(self) -> dict[str, Array]:
        """Arrays for a checkpoint."""
        now = np.array([self._now_ms], dtype=np.int64)
        return {"now_ms": now, "clicks": self._clicks, "times_ms": self._times_ms, "counts": self._counts}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """The inverse of `state`."""
        self._now_ms = int(state["now_ms"][0])
        self._clicks, self._times_ms, self._counts = (
            np.array(state[name]) for name in ("clicks", "times_ms", "counts")
        )

    def _advance(self, newest_ms: int) -> None:
        if newest_ms > self._now_ms:
            self._clicks *= self._weight(np.array([self._now_ms]), newest_ms) if self._now_ms else 1.0
            self._now_ms = newest_ms

    def _add_clicks(self, times_ms: Array, delays_ms: Array) -> None:
        bins = np.searchsorted(EDGES_SECONDS, delays_ms / 1000, side="right") - 1
        inside = bins < len(_LO)
        weights = self._weight(times_ms[inside], self._now_ms)
        self._clicks = self._clicks + np.bincount(bins[inside], weights=weights, minlength=len(_LO))

    def _weight(self, times_ms: Array, now_ms: int) -> Floats:
        weight: Floats = 0.5 ** ((now_ms - times_ms) / self._half_life_ms)
        return weight

    def _merge(self) -> None:
        """Halves the older half of the arrivals: the older they are, the wider are the bins that they pass."""
        order = np.argsort(self._times_ms, kind="stable")
        half = len(order) // 4 * 2
        times, counts = self._times_ms[order], self._counts[order]
        pairs, ages = counts[:half].reshape(-1, 2), times[:half].reshape(-1, 2)
        merged = pairs.sum(axis=1)
        mean = (ages[:, 0] + ((ages[:, 1] - ages[:, 0]) * pairs[:, 1] / merged)).astype(np.int64)
        self._times_ms = np.concatenate([mean, times[half:]])
        self._counts = np.concatenate([merged, counts[half:]])

    def _rates(self) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """(clicks an impression a second (B,), whether enough impressions came through the bin (B,))."""
        ages = (self._now_ms - self._times_ms)[:, None] / 1000
        weights = self._counts * self._weight(self._times_ms, self._now_ms)
        exposure = weights @ np.clip(ages - _LO, 0.0, _WIDTH) if len(weights) else np.zeros(len(_LO))
        known = exposure > _LEAST_EXPOSED * weights.sum() * _WIDTH
        return np.divide(self._clicks, exposure, out=np.zeros(len(_LO)), where=known), known

    def _cumulative(self) -> tuple[Floats, float]:
        """(clicks an impression up to each edge (B + 1,), the last edge that is known)."""
        rates, known = self._rates()
        return np.concatenate([[0.0], np.cumsum(rates * _WIDTH)]), float(EDGES_SECONDS[1:][known].max(initial=0.0))

"""Decayed click rates per ad: the ranker that always answers.

For an ad shown n times and clicked c times, both decayed by half every `half_life_ms` of the data's
clock, the score is the posterior mean (c + a·p) / (n + a), with p the rate over all ads and a the prior's weight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nlargest

import numpy as np

from serving.gateway.decay import DecayClock
from serving.gateway.rankers import Ranked, RankRequest
from streams.contract.errors import InputError
from streams.contract.events import Event, Feedback, Impression

_NEGLIGIBLE = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class PopularityConfig:
    """How long a click counts, and how much is remembered."""

    half_life_ms: int = 3_600_000
    max_ads: int = 100_000
    prior_shows: float = 50.0
    prior_rate: float = 0.05
    """Before anything has been shown."""

    def __post_init__(self) -> None:
        for name in ("half_life_ms", "max_ads", "prior_shows"):
            if getattr(self, name) <= 0:
                raise InputError("must be positive", field=f"popularity.{name}", value=getattr(self, name))


@dataclass(frozen=True, slots=True)
class _Counts:
    shows: dict[str, float]
    clicks: dict[str, float]
    rate: float


class PopularityRanker:
    """Counts in one thread (`observe`), answers in another: what is read is replaced whole, never changed.

    Counts of the running period are folded into the decayed ones eight times a half-life, or when
    they name as many ads as may be remembered; then the least shown ads are forgotten.
    """

    def __init__(self, config: PopularityConfig | None = None) -> None:
        self._config = config or PopularityConfig()
        self._decayed = _Counts({}, {}, self._config.prior_rate)
        self._shows: Counter[str] = Counter()
        self._clicks: Counter[str] = Counter()
        self._clock = DecayClock(self._config.half_life_ms)

    async def rank(self, request: RankRequest, deadline: float) -> Ranked:
        """Never late, never away: `deadline` does not matter."""
        counts, weight = self._decayed, self._config.prior_shows
        shows, clicks = counts.shows, counts.clicks
        prior = counts.rate * weight
        rates = [(clicks.get(ad, 0.0) + prior) / (shows.get(ad, 0.0) + weight) for ad in request.ad_ids]
        return Ranked(scores=np.array(rates, dtype=np.float32))

    async def missing(self) -> list[str]:
        return []

    @property
    def num_ads(self) -> int:
        """Ads remembered."""
        return len(self._decayed.shows)

    def observe(self, events: Iterable[Event]) -> None:
        """Counts what was shown and clicked. For one thread at a time."""
        newest_ms = None
        for event in events:
            if isinstance(event, Impression):
                self._shows.update(event.ad_ids)
            elif isinstance(event, Feedback) and event.kind == "click":
                self._clicks[event.ad_id] += 1
            newest_ms = max(newest_ms or 0, event.event_time_ms or 0)
        if newest_ms is not None:
            self._fold_if_due(newest_ms)

    def _fold_if_due(self, now_ms: int) -> None:
        elapsed_ms, due = self._clock.elapsed_ms(now_ms)
        if due or len(self._shows) + len(self._clicks) >= self._config.max_ads:
            self._fold(self._clock.factor(elapsed_ms))
        if due:
            self._clock.folded(now_ms)

    def _fold(self, decay: float) -> None:
        shows = _merge(self._decayed.shows, decay, self._shows)
        clicks = _merge(self._decayed.clicks, decay, self._clicks)
        if len(shows) > self._config.max_ads:
            shows = dict(nlargest(self._config.max_ads, shows.items(), key=lambda item: item[1]))
        clicks = {ad: count for ad, count in clicks.items() if ad in shows}
        total, prior = sum(shows.values()), self._config.prior_shows
        rate = (sum(clicks.values()) + prior * self._config.prior_rate) / (total + prior)
        self._decayed = _Counts(shows, clicks, rate)
        self._shows, self._clicks = Counter(), Counter()


def _merge(old: dict[str, float], decay: float, new: Counter[str]) -> dict[str, float]:
    merged = {ad: count * decay for ad, count in old.items() if count * decay > _NEGLIGIBLE}
    for ad, count in new.items():
        merged[ad] = merged.get(ad, 0.0) + count
    return merged

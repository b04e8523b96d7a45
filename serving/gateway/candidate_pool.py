"""Items seen lately, with their raw features and decayed click rates: what can be recommended without a recommender.

For an item among the best-ranked of n impressions and clicked c times, both decayed by half every
`half_life_ms` of the data's clock, the rate is the posterior mean (c + a·p) / (n + a); popularity.py
counts all ads alike, this one counts few and keeps their features.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from serving.gateway.decay import DecayClock
from streams.contract.errors import InputError
from streams.contract.events import Event, Feedback, Impression

_NEGLIGIBLE_SHOWS = 1e-3
_FEATURES_SECONDS = 1.0
"""Features of an item are read anew from its impressions at most this often."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolConfig:
    """How much is remembered, and for how long."""

    max_items: int = 2000
    num_newest: int = 50
    """Of the items handed out, so many at least are those first seen last, but no more than a quarter."""
    rows_an_impression: int = 32
    """Of each impression only the best-ranked are counted: those a unit may have seen."""
    half_life_ms: int = 3_600_000
    prior_shows: float = 50.0
    prior_rate: float = 0.05
    refresh_seconds: float = 0.5
    """How old the order of the items may be."""

    def __post_init__(self) -> None:
        for name in ("max_items", "rows_an_impression", "half_life_ms", "prior_shows"):
            if getattr(self, name) <= 0:
                raise InputError("must be positive", field=f"pool.{name}", value=getattr(self, name))


class _Seen:
    __slots__ = ("clicks", "features", "read_at", "shows")

    def __init__(self) -> None:
        self.shows = 0.0
        self.clicks = 0.0
        self.features: dict[str, Any] = {}
        self.read_at = float("-inf")


class CandidatePool:
    """Observes events in one thread, hands out candidates in another.

    Up to twice `max_items` are held, and those that one impression adds.
    """

    def __init__(self, config: PoolConfig | None = None) -> None:
        self._config = config or PoolConfig()
        self._clock = DecayClock(self._config.half_life_ms)
        self._mutex = threading.Lock()
        self._seen: dict[str, _Seen] = {}
        self._ranked: list[str] = []
        self._ranked_at = float("-inf")

    @property
    def num_items(self) -> int:
        """Items remembered."""
        return len(self._seen)

    def observe(self, events: Iterable[Event]) -> None:
        """Counts what was shown and clicked."""
        newest_ms = None
        for event in events:
            with self._mutex:
                if isinstance(event, Impression):
                    self._show(event)
                elif isinstance(event, Feedback) and event.kind == "click":
                    self._seen.setdefault(event.ad_id, _Seen()).clicks += 1
                if len(self._seen) > 2 * self._config.max_items:
                    self._forget()
            newest_ms = max(newest_ms or 0, event.event_time_ms or 0)
        if newest_ms is not None:
            with self._mutex:
                self._fade(newest_ms)

    def candidates(self, number: int, without: Collection[str] = ()) -> list[str]:
        """At most `number` items: the best by rate, the newest among them."""
        with self._mutex:
            ranked = self._by_rate()
            unseen = (item for item in reversed(self._seen) if item not in without)
            newest = list(islice(unseen, min(self._config.num_newest, number // 4)))
        chosen = dict.fromkeys(islice((item for item in ranked if item not in without), number - len(newest)))
        chosen.update(dict.fromkeys(newest))
        more = (item for item in ranked if item not in without and item not in chosen)
        return [*chosen, *islice(more, number - len(chosen))]

    def features(self, items: Sequence[str]) -> list[Mapping[str, Any]]:
        """The raw features of each item's newest impression; empty where none is known."""
        with self._mutex:
            return [seen.features if (seen := self._seen.get(item)) is not None else {} for item in items]

    def _show(self, event: Impression) -> None:
        now = time.monotonic()
        for row in _best_rows(event, self._config.rows_an_impression):
            item = event.ad_ids[row]
            seen = self._seen.get(item)
            if seen is None:
                seen = self._seen[item] = _Seen()
            seen.shows += 1
            if now - seen.read_at >= _FEATURES_SECONDS and event.candidates:
                seen.features = {name: column[row] for name, column in event.candidates.items()}
                seen.read_at = now

    def _by_rate(self) -> list[str]:
        """All items, best first, as they were ordered at most `refresh_seconds` ago."""
        now = time.monotonic()
        if now - self._ranked_at >= self._config.refresh_seconds:
            self._ranked = sorted(self._seen, key=self._rate, reverse=True)
            self._ranked_at = now
        return self._ranked

    def _rate(self, item: str) -> float:
        seen, weight = self._seen[item], self._config.prior_shows
        return (seen.clicks + weight * self._config.prior_rate) / (seen.shows + weight)

    def _fade(self, now_ms: int) -> None:
        elapsed_ms, due = self._clock.elapsed_ms(now_ms)
        if not due:
            return
        self._clock.folded(now_ms)
        factor = self._clock.factor(elapsed_ms)
        for seen in self._seen.values():
            seen.shows *= factor
            seen.clicks *= factor
        self._seen = {item: seen for item, seen in self._seen.items() if seen.shows + seen.clicks > _NEGLIGIBLE_SHOWS}

    def _forget(self) -> None:
        """Keeps `max_items`: half of them the newest, the others the best."""
        newest = set(islice(reversed(self._seen), self._config.max_items // 2))
        best = sorted(self._seen.keys() - newest, key=self._rate, reverse=True)
        kept = newest.union(best[: self._config.max_items - len(newest)])
        self._seen = {item: seen for item, seen in self._seen.items() if item in kept}


def _best_rows(event: Impression, most: int) -> Iterable[int]:
    """The rows of the best-ranked candidates; the first ones where nothing is said of their ranking."""
    if len(event.ad_ids) <= most:
        return range(len(event.ad_ids))
    if event.positions is None:
        return range(most)
    return [row for row, position in enumerate(event.positions) if position < most]

"""The gateway's Prometheus metrics, from the one table in streams/contract/telemetry.py."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from streams.contract.telemetry import metric

_LATENCY_BUCKETS_SECONDS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
)  # fmt: skip
_NEWEST = 2048
_MAX_ARMS = 32
_OTHER_ARMS = "other"


class Metrics:
    """One registry a gateway; safe to use from several threads."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("freshet_score_requests_total")
        self.latency = self._latency("freshet_score_latency_seconds")
        self.candidates = self._counter("freshet_score_candidates_total")
        self.recommend_requests = self._counter("freshet_recommend_requests_total")
        self.recommend_latency = self._latency("freshet_recommend_latency_seconds")
        self.recommend_items = self._counter("freshet_recommend_items_total")
        self.pool_items = self._gauge("freshet_candidate_pool_items")
        self.in_flight = self._gauge("freshet_requests_in_flight")
        self.flags = self._counter("freshet_flags_total")
        self.served_version = self._gauge("freshet_served_version")
        self.freshness = self._gauge("freshet_served_freshness_seconds")
        self.logged = self._counter("freshet_impressions_logged_total")
        self.spooled = self._gauge("freshet_impressions_spooled")
        self.dropped = self._counter("freshet_impressions_dropped_total")
        self.events = self._counter("freshet_events_total")
        self.hedges = self._counter("freshet_hedged_inferences_total")
        self.outcomes = {name: self.requests.labels(name) for name in ("scored", "degraded", "refused", "failed")}
        self.recommend_outcomes = {
            name: self.recommend_requests.labels(name) for name in ("recommended", "degraded", "refused", "failed")
        }
        self.hedge_outcomes = {name: self.hedges.labels(name) for name in ("won", "lost")}
        self.newest_latencies = NewestLatencies()
        self._arms: dict[str, Gauge] = {}

    def scored(self, arm: str, version: int, num_candidates: int, seconds: float) -> None:
        """Counts one answer by the model (version above 0) or in its place."""
        self.outcomes["scored" if version else "degraded"].inc()
        self.latency.observe(seconds)
        self.newest_latencies.add(seconds)
        self.candidates.inc(num_candidates)
        self._arm(arm).set(version)

    def recommended(self, arm: str, version: int, num_items: int, seconds: float, flags: Sequence[str]) -> None:
        """Counts one recommendation, by a model (version above 0) or in its place."""
        self.recommend_outcomes["recommended" if version else "degraded"].inc()
        self.recommend_latency.observe(seconds)
        self.recommend_items.inc(num_items)
        self._arm(arm).set(version)
        for flag in flags:
            self.flags.labels(flag).inc()

    def request_counts(self) -> dict[str, int]:
        """Scoring requests so far by outcome."""
        return {name: self._value("freshet_score_requests_total", outcome=name) for name in self.outcomes}

    def recommend_counts(self) -> dict[str, int]:
        """Recommendation requests so far by outcome."""
        return {name: self._value("freshet_recommend_requests_total", outcome=name) for name in self.recommend_outcomes}

    def num_logged(self) -> int:
        """Impressions written to the event log so far."""
        return self._value("freshet_impressions_logged_total")

    def num_in_flight(self) -> int:
        """Scoring requests being answered now."""
        return self._value("freshet_requests_in_flight")

    def exposition(self) -> bytes:
        """All metrics as Prometheus text."""
        return generate_latest(self.registry)

    def _arm(self, arm: str) -> Gauge:
        """An arm's gauge; senders choose the names, so beyond a number they share one."""
        if arm not in self._arms and len(self._arms) >= _MAX_ARMS - 1:
            arm = _OTHER_ARMS
        if arm not in self._arms:
            self._arms[arm] = self.served_version.labels(arm)
        return self._arms[arm]

    def _value(self, name: str, **labels: str) -> int:
        return int(self.registry.get_sample_value(name, labels) or 0)

    def _latency(self, name: str) -> Histogram:
        return Histogram(name, metric(name).help, buckets=_LATENCY_BUCKETS_SECONDS, registry=self.registry)

    def _counter(self, name: str) -> Counter:
        described = metric(name)
        return Counter(name, described.help, described.labels, registry=self.registry)

    def _gauge(self, name: str) -> Gauge:
        described = metric(name)
        return Gauge(name, described.help, described.labels, registry=self.registry)


class NewestLatencies:
    """The latencies of the newest 2,048 answers, for the status page."""

    def __init__(self) -> None:
        self._seconds = array("d", bytes(8 * _NEWEST))
        self.count = 0

    def add(self, seconds: float) -> None:
        self._seconds[self.count % _NEWEST] = seconds
        self.count += 1

    def quantiles_ms(self, quantiles: Sequence[float]) -> list[float | None]:
        """The latency in milliseconds at each quantile (0 to 1); None before the first answer."""
        known = sorted(self._seconds[: min(self.count, _NEWEST)])
        if not known:
            return [None for _ in quantiles]
        return [round(1000 * known[min(len(known) - 1, int(q * len(known)))], 3) for q in quantiles]

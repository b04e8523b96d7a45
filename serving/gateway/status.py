"""What the gateway tells of itself: for people (/v1/status), for orchestrators (/readyz)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

from serving.gateway.delivery import Delivery
from serving.gateway.event_writer import EventWriter
from serving.gateway.metrics import Metrics
from serving.gateway.model_store import ModelStore
from serving.gateway.rankers import Ranker
from serving.gateway.recommender import Recommender
from serving.gateway.spool import Spool
from streams.contract.errors import FreshetError
from streams.contract.manifest import Manifest

_CACHED_SECONDS = 0.5


class StatusAnswer(msgspec.Struct, kw_only=True):
    """The state of gateway and live model. Unknown figures are null."""

    model: str | None
    version: int | None
    generation: int | None
    normalized_entropy: float | None
    auc: float | None
    calibration: float | None
    freshness_seconds: float | None
    latency_ms: dict[str, float | None]
    requests: dict[str, int]
    recommendations: dict[str, int]
    requests_in_flight: int
    impressions_logged: int
    impressions_dropped: int
    events_spooled: int
    refused: list[dict[str, Any]]
    recommender: dict[str, Any] | None
    """Version, generation and freshness_seconds of the live recommender; null where there is none."""
    missing: list[str]
    degraded: list[str]
    uptime_seconds: float


@dataclass(frozen=True, slots=True)
class _Live:
    """What the row store said at `read_at`."""

    read_at: float
    head: Manifest | None = None
    refused: list[dict[str, Any]] = field(default_factory=list)
    recommender: Manifest | None = None
    fault: str = ""


@dataclass(slots=True, kw_only=True)
class Status:
    """Collects the figures."""

    metrics: Metrics
    ranker: Ranker
    store: ModelStore
    writer: EventWriter
    delivery: Delivery
    spool: Spool
    recommender: Recommender | None = None
    """Where one is expected."""
    recommender_store: ModelStore
    started: float = field(default_factory=time.monotonic)
    _live: _Live | None = None

    async def readiness(self) -> tuple[list[str], list[str]]:
        """(what is missing to score and to keep what is shown, what works only in part)."""
        missing = [*await self.ranker.missing(), *self.writer.missing]
        failure = self.delivery.failure
        degraded = [f"event log: {failure}"] if failure is not None else []
        return missing, degraded if self.recommender is None else [*degraded, *await self.recommender.missing()]

    async def report(self) -> dict[str, Any]:
        """The fields of StatusAnswer."""
        missing, degraded = await self.readiness()
        live = await self._live_models()
        head = live.head
        metrics = {} if head is None else head.metrics
        p50, p99 = self.metrics.newest_latencies.quantiles_ms((0.5, 0.99))
        return {
            "model": None if head is None else head.model,
            "version": None if head is None else head.version,
            "generation": None if head is None else head.generation,
            **{name: metrics.get(name) for name in ("normalized_entropy", "auc", "calibration")},
            "freshness_seconds": _freshness_seconds(head),
            "latency_ms": {"p50": p50, "p99": p99},
            "requests": self.metrics.request_counts(),
            "recommendations": self.metrics.recommend_counts(),
            "requests_in_flight": self.metrics.num_in_flight(),
            "impressions_logged": self.metrics.num_logged(),
            "impressions_dropped": self.writer.dropped,
            "events_spooled": self.spool.num_events,
            "refused": live.refused,
            "recommender": _summary(live.recommender),
            "missing": missing,
            "degraded": [*degraded, *([live.fault] if live.fault else [])],
            "uptime_seconds": round(time.monotonic() - self.started, 1),
        }

    async def _live_models(self) -> _Live:
        """Asked of the store at most twice a second, however many pages poll."""
        if self._live is None or time.monotonic() - self._live.read_at > _CACHED_SECONDS:
            try:
                self._live = await asyncio.to_thread(self._read)
            except FreshetError as error:
                self._live = _Live(time.monotonic(), fault=f"row store: {error}")
        return self._live

    def _read(self) -> _Live:
        head, refused = self.store.live_head(), self.store.refused()
        return _Live(time.monotonic(), head, refused, self.recommender_store.live_head())


def _freshness_seconds(head: Manifest | None) -> float | None:
    return None if head is None else time.time() - head.newest_ingest_ms / 1000


def _summary(head: Manifest | None) -> dict[str, Any] | None:
    if head is None:
        return None
    return {"version": head.version, "generation": head.generation, "freshness_seconds": _freshness_seconds(head),
            "metrics": head.metrics}  # fmt: skip

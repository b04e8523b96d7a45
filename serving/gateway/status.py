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
    requests_in_flight: int
    impressions_logged: int
    impressions_dropped: int
    events_spooled: int
    refused: list[dict[str, Any]]
    missing: list[str]
    degraded: list[str]
    uptime_seconds: float


@dataclass(slots=True, kw_only=True)
class Status:
    """Collects the figures."""

    metrics: Metrics
    ranker: Ranker
    store: ModelStore
    writer: EventWriter
    delivery: Delivery
    spool: Spool
    started: float = field(default_factory=time.monotonic)
    _model: tuple[float, Manifest | None, list[dict[str, Any]], str] | None = None

    async def readiness(self) -> tuple[list[str], list[str]]:
        """(what is missing to score and to keep what is shown, what works only in part)."""
        missing = [*await self.ranker.missing(), *self.writer.missing]
        failure = self.delivery.failure
        return missing, [f"event log: {failure}"] if failure is not None else []

    async def report(self) -> dict[str, Any]:
        """The fields of StatusAnswer."""
        missing, degraded = await self.readiness()
        head, refused, fault = await self._live_model()
        metrics = {} if head is None else head.metrics
        p50, p99 = self.metrics.newest_latencies.quantiles_ms((0.5, 0.99))
        return {
            "model": None if head is None else head.model,
            "version": None if head is None else head.version,
            "generation": None if head is None else head.generation,
            **{name: metrics.get(name) for name in ("normalized_entropy", "auc", "calibration")},
            "freshness_seconds": None if head is None else time.time() - head.newest_ingest_ms / 1000,
            "latency_ms": {"p50": p50, "p99": p99},
            "requests": self.metrics.request_counts(),
            "requests_in_flight": self.metrics.num_in_flight(),
            "impressions_logged": self.metrics.num_logged(),
            "impressions_dropped": self.writer.dropped,
            "events_spooled": self.spool.num_events,
            "refused": refused,
            "missing": missing,
            "degraded": [*degraded, *([fault] if fault else [])],
            "uptime_seconds": round(time.monotonic() - self.started, 1),
        }

    async def _live_model(self) -> tuple[Manifest | None, list[dict[str, Any]], str]:
        """Asked of the store at most twice a second, however many pages poll."""
        if self._model is None or time.monotonic() - self._model[0] > _CACHED_SECONDS:
            head: Manifest | None = None
            refused: list[dict[str, Any]] = []
            fault = ""
            try:
                head, refused = await asyncio.to_thread(lambda: (self.store.live_head(), self.store.refused()))
            except FreshetError as error:
                fault = f"row store: {error}"
            self._model = (time.monotonic(), head, refused, fault)
        return self._model[1:]

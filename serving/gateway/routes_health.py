"""Health, status, metrics and the two pages; nothing here is loaded from another host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from serving.gateway.metrics import Metrics
from serving.gateway.operations import Operation, json_response
from serving.gateway.status import Status, StatusAnswer

_STATIC = Path(__file__).parent / "static"
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"
_METRICS_MEDIA = "text/plain; version=0.0.4; charset=utf-8"


class Alive(msgspec.Struct, kw_only=True):
    """The process answers."""

    status: str


class Readiness(msgspec.Struct, kw_only=True):
    """`missing`: what it lacks to score; `degraded`: what works only in part."""

    ready: bool
    missing: list[str]
    degraded: list[str]


class HealthEndpoint:
    """The gateway's own state."""

    def __init__(self, status: Status, metrics: Metrics) -> None:
        self._status = status
        self._metrics = metrics

    async def alive(self, request: Request) -> Response:
        """200 while the process answers."""
        return json_response({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        """200 where it can score, else 503."""
        missing, degraded = await self._status.readiness()
        answer: dict[str, Any] = {"ready": not missing, "missing": missing, "degraded": degraded}
        if missing:
            answer["error"] = {"code": "unavailable", "message": "; ".join(missing), "remedy": "see `freshet doctor`"}
        return json_response(answer, status=503 if missing else 200)

    async def status(self, request: Request) -> Response:
        """Figures for the status page."""
        return json_response(await self._status.report())

    async def metrics(self, request: Request) -> Response:
        """Prometheus text."""
        return Response(self._metrics.exposition(), headers={"content-type": _METRICS_MEDIA})


def page(name: str) -> Response:
    """A page of serving/gateway/static, allowed to talk to its own host only."""
    headers = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff"}
    return Response((_STATIC / name).read_bytes(), media_type="text/html", headers=headers)


async def console(request: Request) -> Response:
    """The status page."""
    return page("console.html")


async def docs(request: Request) -> Response:
    """The API's documentation, drawn from /openapi.json."""
    return page("docs.html")


def health_operations(endpoint: HealthEndpoint) -> list[Operation]:
    """The operations of this module."""
    return [
        Operation(method="GET", path="/healthz", handler=endpoint.alive, access="open",
                  summary="Whether the process is alive.", answer=Alive),
        Operation(method="GET", path="/readyz", handler=endpoint.ready, access="open",
                  summary="Whether it can score; if not, what is missing.", answer=Readiness,
                  errors={503: "Something is missing."}),
        Operation(method="GET", path="/v1/status", handler=endpoint.status, access="any",
                  summary="Figures of the gateway and the live model.", answer=StatusAnswer),
        Operation(method="GET", path="/metrics", handler=endpoint.metrics, access="any",
                  summary="Prometheus metrics.", media="text/plain"),
        Operation(method="GET", path="/", handler=console, access="open", summary="Status page.", media="text/html"),
        Operation(method="GET", path="/docs", handler=docs, access="open", summary="This API, for people.",
                  media="text/html"),
    ]  # fmt: skip

"""POST /v1/score: the path on which every microsecond counts, so it is plain ASGI without middleware."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.gateway.auth import Gate
from serving.gateway.event_writer import EventWriter
from serving.gateway.http_errors import error_answer
from serving.gateway.impressions import Shown
from serving.gateway.limits import InFlight, LimitsConfig, deadline_seconds
from serving.gateway.live_model import LiveModels
from serving.gateway.metrics import Metrics
from serving.gateway.operations import ClientGoneError, Operation, read_body
from serving.gateway.rankers import Ranked, Ranker, RankRequest
from serving.gateway.wire import (
    JSON,
    MSGPACK,
    ScoreAnswer,
    ScoreRequest,
    ad_ids_of,
    answer_media,
    decode_score,
    encode_answer,
)
from streams.contract.errors import BackPressureError, InputError

PATH = "/v1/score"
Headers = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreParts:
    """What the endpoint works with."""

    ranker: Ranker
    models: LiveModels
    writer: EventWriter
    limits: LimitsConfig
    in_flight: InFlight
    gate: Gate
    metrics: Metrics


class ScoreEndpoint:
    """One scoring request: checked, ranked, answered, and only then logged."""

    def __init__(self, parts: ScoreParts) -> None:
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        headers: Headers = dict(scope["headers"])
        shown: Shown | None = None
        extra: list[tuple[bytes, bytes]] = []
        media = JSON
        try:
            media, body, shown = await self._answer(headers, receive)
            status = 200
        except ClientGoneError:
            return
        except Exception as error:
            status, body, extra = error_answer(error)
            self._count_error(error)
        head = [(b"content-type", media.encode()), (b"content-length", str(len(body)).encode()), *extra]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})
        if shown is not None:
            self._after(shown, time.perf_counter() - started)

    async def _answer(self, headers: Headers, receive: Receive) -> tuple[str, bytes, Shown]:
        parts = self._parts
        parts.gate.check(headers, "score")
        deadline = deadline_seconds(headers.get(b"x-deadline-ms"), parts.limits)
        body = await read_body(receive, headers, parts.limits)
        with parts.in_flight:
            content_type = headers.get(b"content-type", b"").decode("latin-1")
            request = decode_score(body, content_type)
            ingest_ms = time.time_ns() // 1_000_000
            ad_ids = ad_ids_of(request)
            ranked = await parts.ranker.rank(_rank_request(request, ad_ids, ingest_ms), deadline)
        shown = self._shown(request, ad_ids, ranked, ingest_ms)
        media = answer_media(headers)
        freshness = _freshness_seconds(ranked)
        if freshness is not None:
            parts.metrics.freshness.set(freshness)
        return media, _encode(shown, freshness, media), shown

    def _shown(self, request: ScoreRequest, ad_ids: list[str], ranked: Ranked, ingest_ms: int) -> Shown:
        return Shown(
            request=request,
            request_id=request.request_id or os.urandom(16).hex(),
            ad_ids=ad_ids,
            keeps_ad_id=self._parts.models.reads_ad_id,
            scores=ranked.scores,
            ranking=np.argsort(-ranked.scores, kind="stable"),
            arm=request.arm or "default",
            version=ranked.version,
            generation=ranked.generation,
            flags=ranked.flags,
            ingest_ms=ingest_ms,
        )

    def _after(self, shown: Shown, seconds: float) -> None:
        self._parts.writer.offer(shown)
        metrics = self._parts.metrics
        metrics.scored(shown.arm, shown.version, len(shown.ad_ids), seconds)
        for flag in shown.flags:
            metrics.flags.labels(flag).inc()

    def _count_error(self, error: Exception) -> None:
        refused = isinstance(error, InputError | BackPressureError)
        self._parts.metrics.outcomes["refused" if refused else "failed"].inc()


def _rank_request(request: ScoreRequest, ad_ids: list[str], ingest_ms: int) -> RankRequest:
    return RankRequest(
        unit_id=request.unit_id,
        ad_ids=ad_ids,
        user=request.user,
        context=request.context,
        candidates=request.candidates,
        arm=request.arm or "default",
        event_time_ms=ingest_ms if request.event_time_ms is None else request.event_time_ms,
    )


def _freshness_seconds(ranked: Ranked) -> float | None:
    newest_ms = ranked.newest_ingest_ms
    return (time.time_ns() // 1_000_000 - newest_ms) / 1000 if newest_ms else None


def _encode(shown: Shown, freshness: float | None, media: str) -> bytes:
    answer = {
        "request_id": shown.request_id,
        "scores": None,
        "ranking": None,
        "arm": shown.arm,
        "version": shown.version,
        "generation": shown.generation,
        "freshness_seconds": freshness,
        "flags": list(shown.flags),
    }
    return encode_answer(answer, shown.scores, shown.ranking, media)


def score_operation() -> Operation:
    """The operation as the table lists it; POST reaches the endpoint before any routing."""

    async def unreachable(request: Request) -> Response:
        raise AssertionError("POST /v1/score is answered before routing")

    return Operation(
        method="POST", path=PATH, handler=unreachable, access="score",
        summary="Score and rank 1 to 4,096 candidates for one unit.",
        body=ScoreRequest, answer=ScoreAnswer, body_media=(JSON, MSGPACK),
        headers={"x-deadline-ms": "Milliseconds to answer in; the popularity ranker answers where the model is late."},
        errors={400: "Malformed body.", 413: "Body too large, or too many candidates.",
                422: "A field that does not fit; `field` names it.", 429: "Overloaded; see Retry-After."},
    )  # fmt: skip

"""POST /v1/recommend: the best items for a unit, by any arm, within the deadline."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response

from serving.gateway.arms import Recommended, Wanted
from serving.gateway.event_writer import EventWriter
from serving.gateway.limits import InFlight, LimitsConfig, deadline_seconds
from serving.gateway.live_model import LiveModels
from serving.gateway.metrics import Metrics
from serving.gateway.operations import Operation, read_body
from serving.gateway.recommend_bodies import (
    ArmAnswer,
    ArmName,
    RecommendBody,
    RecommendedItem,
    RecommendReply,
    decode_recommend,
    encode_reply,
)
from serving.gateway.recommended import Offered
from serving.gateway.recommending import Recommending
from serving.gateway.wire import JSON, MSGPACK, answer_media
from streams.contract.errors import BackPressureError, InputError

PATH = "/v1/recommend"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendParts:
    """What the endpoint works with."""

    recommending: Recommending
    models: LiveModels
    writer: EventWriter
    limits: LimitsConfig
    in_flight: InFlight
    metrics: Metrics


class RecommendEndpoint:
    """One request: checked, answered by its arm, and only then logged."""

    def __init__(self, parts: RecommendParts) -> None:
        self._parts = parts

    async def recommend(self, request: Request) -> Response:
        """The answer; what was recommended is logged after it has been sent."""
        started = time.perf_counter()
        try:
            return await self._answer(request, started)
        except (InputError, BackPressureError):
            self._parts.metrics.recommend_outcomes["refused"].inc()
            raise
        except Exception:
            self._parts.metrics.recommend_outcomes["failed"].inc()
            raise

    async def _answer(self, request: Request, started: float) -> Response:
        parts = self._parts
        headers = dict(request.headers.raw)
        deadline = deadline_seconds(headers.get(b"x-deadline-ms"), parts.limits)
        raw = await read_body(request.receive, headers, parts.limits)
        with parts.in_flight:
            body = decode_recommend(raw, request.headers.get("content-type", ""))
            ingest_ms = time.time_ns() // 1_000_000
            first, second = await parts.recommending.recommend(body.arm, body.also, _wanted(body, ingest_ms), deadline)
        offered = Offered(
            request=body,
            request_id=body.request_id or os.urandom(16).hex(),
            recommended=first,
            keeps_ad_id=parts.models.reads_ad_id,
            ingest_ms=ingest_ms,
        )
        also = None if second is None or body.also is None else _arm_answer(body.also, second)
        reply = _reply(offered.request_id, _arm_answer(body.arm, first), also)
        media = answer_media(headers)
        return Response(
            encode_reply(reply, media), media_type=media, background=BackgroundTask(self._after, offered, started)
        )

    async def _after(self, offered: Offered, started: float) -> None:
        if offered.request.log and offered.recommended.items:
            self._parts.writer.offer(offered)
        given = offered.recommended
        self._parts.metrics.recommended(
            offered.request.arm, given.version, len(given.items), time.perf_counter() - started, given.flags
        )


def _wanted(body: RecommendBody, ingest_ms: int) -> Wanted:
    return Wanted(
        unit_id=body.unit_id,
        k=body.k,
        history=None if body.history is None else tuple(body.history),
        exclude=tuple(body.exclude),
        user=body.user,
        context=body.context,
        event_time_ms=ingest_ms if body.event_time_ms is None else body.event_time_ms,
    )


def _arm_answer(arm: ArmName, given: Recommended) -> ArmAnswer:
    newest_ms = given.newest_ingest_ms
    pairs = zip(given.items, given.scores.tolist(), strict=True)
    return ArmAnswer(
        items=[RecommendedItem(item_id=item, score=score) for item, score in pairs],
        arm=arm,
        answered_by=given.answered_by,
        version=given.version,
        generation=given.generation,
        recommender_version=given.recommender_version,
        recommender_generation=given.recommender_generation,
        freshness_seconds=(time.time_ns() // 1_000_000 - newest_ms) / 1000 if newest_ms else None,
        flags=list(given.flags),
    )


def _reply(request_id: str, first: ArmAnswer, also: ArmAnswer | None) -> RecommendReply:
    fields = {name: getattr(first, name) for name in first.__struct_fields__}
    return RecommendReply(request_id=request_id, also=also, **fields)


def recommend_operations(endpoint: RecommendEndpoint) -> list[Operation]:
    """The operations of this module."""
    return [
        Operation(
            method="POST", path=PATH, handler=endpoint.recommend, access="score",
            summary="Recommend the best items for one unit.",
            body=RecommendBody, answer=RecommendReply, body_media=(JSON, MSGPACK),
            headers={"x-deadline-ms": "Milliseconds to answer in; the click model answers for a late recommender."},
            errors={400: "Malformed body.", 413: "Body too large.",
                    422: "A field that does not fit; `field` names it.", 429: "Overloaded; see Retry-After."},
        )
    ]  # fmt: skip

"""Bodies of POST /v1/recommend: what a request may hold and what an answer holds."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from serving.gateway.body_faults import body_fault
from serving.gateway.wire import MSGPACK, media_type
from streams.contract.errors import InputError
from streams.contract.event_checks import check_id, check_time
from streams.contract.events import Value
from streams.contract.recommend_wire import MAX_EXCLUDED, MAX_HISTORY, MAX_ITEMS

ArmName = Literal["generative", "ctr", "blend"]
Answerer = Literal["generative", "ctr", "blend", "popularity"]


class RecommendBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The `k` best items for this unit. What is in `history` or `exclude` is never among them."""

    unit_id: str
    k: int
    history: list[str] | None = None
    """Items liked, oldest first, in place of what the stream tells of the unit."""
    exclude: list[str] = []
    arm: ArmName = "generative"
    also: ArmName | None = None
    """A second arm, asked at the same time; its answer stands beside the first and is not logged."""
    user: dict[str, Value] = {}
    """Features of the live click model, as in /v1/score."""
    context: dict[str, Value] = {}
    request_id: str | None = None
    """Becomes the impression's event_id: send the same one when you retry."""
    session_id: str | None = None
    """Feedback of one session is joined in order; `unit_id` where left out."""
    event_time_ms: int | None = None
    """The data's clock; now where left out."""
    log: bool = True
    """Whether the answer is logged as an impression, from whose clicks both models learn."""


class RecommendedItem(msgspec.Struct, kw_only=True):
    """One item; what its score means depends on who answered."""

    item_id: str
    score: float


class ArmAnswer(msgspec.Struct, kw_only=True):
    """What one arm recommends, best first."""

    items: list[RecommendedItem]
    arm: ArmName
    answered_by: Answerer
    """Who put the items in order: another than `arm` where that was late or away."""
    version: int
    """Of the model that put the items in order; 0 where none did."""
    generation: int
    recommender_version: int | None
    """Of the recommender, where it took part."""
    recommender_generation: int | None
    freshness_seconds: float | None
    """Now less the time at which the newest event came in that the model (of two: the older) has learnt."""
    flags: list[str]


class RecommendReply(ArmAnswer, kw_only=True):
    """The arm's answer; `also` is the second arm's."""

    request_id: str
    also: ArmAnswer | None


_FROM_JSON = msgspec.json.Decoder(RecommendBody)
_FROM_MSGPACK = msgspec.msgpack.Decoder(RecommendBody)


def decode_recommend(body: bytes, content_type: str) -> RecommendBody:
    """The request in a JSON or MessagePack body. Raises FormatError (not JSON), InputError (a field)."""
    packed = media_type(content_type) == MSGPACK
    try:
        request = (_FROM_MSGPACK if packed else _FROM_JSON).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise body_fault(error, body, packed=packed) from error
    _check(request)
    return request


def encode_reply(reply: RecommendReply, media: str) -> bytes:
    """The answer in the media type that was asked for."""
    return msgspec.msgpack.encode(reply) if media == MSGPACK else msgspec.json.encode(reply)


def _check(request: RecommendBody) -> None:
    if not request.unit_id:
        raise InputError("is empty", field="unit_id", value="", remedy="name the unit that sees the items")
    if not 1 <= request.k <= MAX_ITEMS:
        raise InputError(f"must be 1 to {MAX_ITEMS}", field="k", value=request.k, remedy=f"ask for 1 to {MAX_ITEMS}")
    lists: tuple[tuple[str, list[Any], int], ...] = (
        ("history", request.history or [], MAX_HISTORY), ("exclude", request.exclude, MAX_EXCLUDED),
    )  # fmt: skip
    for name, values, most in lists:
        if len(values) > most:
            raise InputError(f"must have at most {most} items", field=name, value=len(values),
                             remedy="give the newest alone")  # fmt: skip
    if request.request_id:
        check_id("request_id", request.request_id)
    if request.event_time_ms is not None:
        check_time("event_time_ms", request.event_time_ms)

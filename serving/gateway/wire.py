"""Bodies of the HTTP API: what a request may hold and what an answer holds. MessagePack has the same shape as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
import orjson

from serving.gateway.body_faults import body_fault
from streams.contract.columns import Array
from streams.contract.errors import InputError, TooLargeError
from streams.contract.event_checks import check_id, check_time
from streams.contract.events import Value
from streams.contract.wire import MAX_CANDIDATES

JSON = "application/json"
NDJSON = "application/x-ndjson"
MSGPACK = "application/x-msgpack"
BINARY = "application/octet-stream"

Body = TypeVar("Body")


class ScoreRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Rank these candidates for this unit. `candidates` holds columns: one entry a candidate, `ad_id` among them."""

    unit_id: str
    candidates: dict[str, list[Any]]
    user: dict[str, Value] = {}
    context: dict[str, Value] = {}
    request_id: str | None = None
    """Becomes the impression's event_id: send the same one when you retry."""
    session_id: str | None = None
    """Feedback of one session is joined in order; `unit_id` where left out."""
    event_time_ms: int | None = None
    """The data's clock; now where left out."""
    arm: str | None = None


class ScoreAnswer(msgspec.Struct, kw_only=True):
    """`scores` in the order of the candidates; `ranking` their indices, best first."""

    request_id: str
    scores: list[float]
    ranking: list[int]
    arm: str
    version: int
    generation: int
    freshness_seconds: float | None
    """Now less the time at which the newest event that the version has learnt came in; null for version 0."""
    flags: list[str]


class EventsBody(msgspec.Struct, kw_only=True):
    """Impressions and feedback; a bare list, one bare event, or one a line will do as well."""

    events: list[dict[str, Any]]
    """Each with `type` ("impression" or "feedback") and that event's fields; see docs/events.md."""


class EventsAnswer(msgspec.Struct, kw_only=True):
    """How many events were taken, durably; which were not, and why."""

    accepted: int
    duplicates: int
    rejected: list[dict[str, Any]]


class ErrorBody(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is wrong, in which field, and what to do about it."""

    code: str
    message: str
    field: str | None = None
    remedy: str | None = None


class ErrorAnswer(msgspec.Struct, kw_only=True):
    """The one shape of every error."""

    error: ErrorBody


_SCORE_FROM_JSON = msgspec.json.Decoder(ScoreRequest)
_SCORE_FROM_MSGPACK = msgspec.msgpack.Decoder(ScoreRequest)


def media_type(content_type: str) -> str:
    """The media type without parameters, in lower case; JSON where none is given."""
    return content_type.partition(";")[0].strip().lower() or JSON


def answer_media(headers: Mapping[bytes, bytes]) -> str:
    """MessagePack where it is asked for, or was sent and nothing is asked for; JSON otherwise."""
    accept = headers.get(b"accept", b"").decode("latin-1")
    sent = headers.get(b"content-type", b"").decode("latin-1")
    if MSGPACK in accept or (accept in ("", "*/*") and media_type(sent) == MSGPACK):
        return MSGPACK
    return JSON


def decode_score(body: bytes, content_type: str) -> ScoreRequest:
    """The request in a JSON or MessagePack body, its columns checked against each other.

    Raises FormatError (not JSON), InputError (a field), TooLargeError (too many candidates).
    """
    packed = media_type(content_type) == MSGPACK
    decoder = _SCORE_FROM_MSGPACK if packed else _SCORE_FROM_JSON
    try:
        request = decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise body_fault(error, body, packed=packed) from error
    check_columns(request)
    return request


def check_columns(request: ScoreRequest) -> None:
    """Raises InputError or TooLargeError where the candidates' columns do not make 1 to 4,096 candidates."""
    ads = request.candidates.get("ad_id")
    if ads is None:
        raise InputError("is missing", field="candidates.ad_id", remedy="send one ad_id a candidate")
    if not ads:
        raise InputError("holds no candidate", field="candidates.ad_id", value=ads,
                         remedy=f"send 1 to {MAX_CANDIDATES} candidates")  # fmt: skip
    if len(ads) > MAX_CANDIDATES:
        raise TooLargeError("too many candidates", field="candidates", value=len(ads),
                            remedy=f"send 1 to {MAX_CANDIDATES} candidates, the rest in another request")  # fmt: skip
    for name, column in request.candidates.items():
        if len(column) != len(ads):
            raise InputError(f"has {len(column)} entries where ad_id has {len(ads)}", field=f"candidates.{name}",
                             value=len(column), remedy="give every column one entry a candidate")  # fmt: skip
    check_names(request)


def check_names(request: ScoreRequest) -> None:
    """Raises InputError for an id or a time with which the request's impression could not be logged."""
    if request.request_id:
        check_id("request_id", request.request_id)
    if request.event_time_ms is not None:
        check_time("event_time_ms", request.event_time_ms)
    if not request.unit_id:
        raise InputError("is empty", field="unit_id", value="", remedy="name the unit that sees the ads")


def ad_ids_of(request: ScoreRequest) -> list[str]:
    """The candidates' ids as strings (E,). Raises InputError where one is neither a string nor an integer."""
    ads = request.candidates["ad_id"]
    if set(map(type, ads)) == {str}:
        return ads
    for row, ad in enumerate(ads):
        if type(ad) is not str and type(ad) is not int:
            raise InputError(f"entry {row} is not an id", field="candidates.ad_id", value=ad,
                             remedy="send strings or integers")  # fmt: skip
    return [str(ad) for ad in ads]


def encode_answer(answer: dict[str, Any], scores: Array, ranking: Array, accept: str) -> bytes:
    """The answer with `scores` (E,) float32 and `ranking` (E,): shortest decimals in JSON, or MessagePack."""
    if accept == MSGPACK:
        return msgspec.msgpack.encode({**answer, "scores": scores.tolist(), "ranking": ranking.tolist()})
    return orjson.dumps({**answer, "scores": scores, "ranking": ranking}, option=orjson.OPT_SERIALIZE_NUMPY)

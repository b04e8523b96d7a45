"""POST /v1/events on a real gateway with a real log, store and scorer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from streams.contract.encoding import encode_event
from streams.contract.events import Feedback
from tests.support.gateway import (
    Http,
    Reply,
    read_events,
)
from tests.support.serving_model import ModelWorld

COMMON = {"event_time_ms": 1, "session_id": "s"}
IMPRESSION = {"type": "impression", "event_id": "i", "unit_id": "u", "ad_ids": ["a"], **COMMON}
FEEDBACK = {"type": "feedback", "event_id": "f", "impression_id": "i", "ad_id": "a", **COMMON}


def named(event: dict[str, Any], event_id: str) -> dict[str, Any]:
    """The event under another id."""
    return {**event, "event_id": event_id}


def accepted(reply: Reply) -> tuple[int, int, int]:
    """(accepted, duplicates, rejected)."""
    assert reply.status == 202, reply.body
    return reply.json["accepted"], reply.json["duplicates"], len(reply.json["rejected"])


def binary(event_id: str) -> bytes:
    """One binary record."""
    return encode_event(Feedback(event_id=event_id, event_time_ms=1, session_id="s", impression_id="i", ad_id="a"))


@pytest.mark.parametrize(
    ("name", "media", "body"),
    [
        ("list", "application/json", json.dumps([named(FEEDBACK, "list")]).encode()),
        ("map", "application/json", json.dumps({"events": [named(IMPRESSION, "map")]}).encode()),
        ("bare", "application/json", json.dumps(named(FEEDBACK, "bare")).encode()),
        ("lines", "application/x-ndjson", (json.dumps(named(FEEDBACK, "lines")) + "\n\n").encode()),
        ("pack", "application/x-msgpack", msgspec.msgpack.encode({"events": [named(FEEDBACK, "pack")]})),
        ("binary", "application/octet-stream", binary("binary")),
    ],
)  # fmt: skip
def test_events_of_every_form_are_in_the_log_when_they_are_answered(
    world: ModelWorld, http: Http, name: str, media: str, body: bytes
) -> None:
    assert accepted(http.post("/v1/events", body, {"Content-Type": media})) == (1, 0, 0)
    (event,) = [event for event in read_events(world.log) if event.event_id == name]
    assert event.ingest_ms > 10**12


def test_lines_without_a_content_type_are_told_from_json(http: Http) -> None:
    lines = b"\n".join(json.dumps(named(FEEDBACK, f"line{n}")).encode() for n in range(3))
    assert accepted(http.post("/v1/events", lines)) == (3, 0, 0)


def test_event_sent_again_is_counted_and_not_written_again(world: ModelWorld, http: Http) -> None:
    events = [named(FEEDBACK, "again"), named(IMPRESSION, "again"), named(FEEDBACK, "again")]
    assert accepted(http.post("/v1/events", events)) == (2, 1, 0)
    assert accepted(http.post("/v1/events", events)) == (0, 3, 0)
    assert len([event for event in read_events(world.log) if event.event_id == "again"]) == 2


def test_bad_events_are_rejected_by_index_and_the_good_ones_taken(http: Http) -> None:
    missing = {name: value for name, value in FEEDBACK.items() if name != "ad_id"}
    events = [
        named(FEEDBACK, "good"), {"type": "order"}, 3, missing, named({**FEEDBACK, "value": "much"}, "v"),
        {"type": "tick", "event_id": "t"}, {**IMPRESSION, "event_id": "p", "probabilities": [0.1, 0.2]},
        named({**FEEDBACK, "note": "x" * 1_100_000}, "huge"),
    ]  # fmt: skip
    events_without_huge = events[:-1]
    reply = http.post("/v1/events", events_without_huge)
    assert accepted(reply) == (1, 0, 6)
    assert [entry["index"] for entry in reply.json["rejected"]] == [1, 2, 3, 4, 5, 6]
    fields = [entry["error"]["field"] for entry in reply.json["rejected"]]
    assert fields == ["type", "event", "ad_id", "value", "type", "probabilities"]
    assert http.post("/v1/events", events).status == 413


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ad_ids": []}, "ad_ids"),
        ({"event_id": ""}, "event_id"),
        ({"event_time_ms": 2**70}, "event_time_ms"),
        ({"positions": [0, 2**40]}, "positions"),
        ({"probabilities": [0.5, 1e39]}, "probabilities"),
        ({"user": {"user": 10**30}}, "user"),
        ({"user": {"user": {"a": 1}}}, "user.user"),
        ({"type": ["impression"]}, "type"),
    ],
)
def test_event_that_cannot_be_used_is_refused_before_it_reaches_the_log(
    world: ModelWorld, http: Http, change: dict[str, Any], field: str
) -> None:
    event = {**IMPRESSION, "event_id": f"refused-{field}", "ad_ids": ["a", "b"], "candidates": {}, **change}
    for body, content_type in bodies_of(event):
        reply = http.post("/v1/events", body, {"Content-Type": content_type})
        assert (reply.status, reply.error["field"]) == (400, field), reply.body
        assert reply.error["remedy"]
    assert not any(found.event_id == event["event_id"] for found in read_events(world.log))


def bodies_of(event: dict[str, Any]) -> Iterator[tuple[bytes, str]]:
    """The event as JSON and, where it can be said there, as MessagePack."""
    yield json.dumps(event).encode(), "application/json"
    with suppress(OverflowError):
        yield msgspec.msgpack.encode(event), "application/x-msgpack"


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"3", 400), (b'{"events": 3}', 400), (b'{"type": "order"}', 400), (b"\xf5Z\x02\x80", 400),
     (b"\xf5F\x02", 400), (b'[{"type": "feedback", "value": NaN}]', 422)],
)  # fmt: skip
def test_body_that_holds_no_events_is_refused(http: Http, body: bytes, status: int) -> None:
    reply = http.post("/v1/events", body)
    assert reply.status == status, reply.body
    assert reply.error["message"]


def test_too_many_events_are_refused(http: Http) -> None:
    assert http.post("/v1/events", [0] * 10_001).status == 413

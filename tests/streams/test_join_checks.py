"""Which events the join admits."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from streams.contract.encoding import decode_event, encode_event, encode_event_json, encode_fields
from streams.contract.errors import FormatError
from streams.contract.events import Event
from streams.join.checks import admit
from tests.support.joining import click, impression, tick

GOOD: list[Event] = [impression("i", 0, probabilities=[0.5, math.pi]), click("i", "a", 1), tick("t", 2**70, final=True)]


@pytest.mark.parametrize("event", GOOD[:2])
def test_good_event_is_admitted_in_both_forms(event: Event) -> None:
    assert admit(encode_event(event)) == admit(encode_event_json(event)) == decode_event(encode_event(event)) == event


def test_field_of_a_newer_version_is_left_out() -> None:
    event = click("i", "a", 1)
    fields = {**{name: getattr(event, name) for name in event.__struct_fields__}, "newer": 1}
    assert admit(encode_fields("feedback", fields)) == event
    newer = b"\xf5F\x09" + encode_event(event)[3:]
    assert admit(newer) == event


def test_event_of_an_older_version_is_upgraded() -> None:
    fields = {"event_id": "f", "event_time_ms": 1, "session_id": "s", "impression_id": "i", "ad_id": "a",
              "clicked": True, "delay_seconds": 1.5}  # fmt: skip
    event = admit(b"\xf5F\x01" + msgspec.msgpack.encode(fields))
    assert getattr(event, "delay_ms", None) == 1500


@pytest.mark.parametrize(
    ("field", "event"),
    [
        ("event_id", impression("", 0)),
        ("event_id", click("i", "a", 0, event_id="x" * 513)),
        ("event_time_ms", impression("i", 2**62)),
        ("event_time_ms", tick("t", 2**62)),
        ("ingest_ms", impression("i", 0, ingest_ms=2**62)),
        ("positions", impression("i", 0, positions=[0, 2**31])),
        ("positions", impression("i", 0, positions=[0])),
        ("candidates.x", impression("i", 0, candidates={"x": [1]})),
        ("probabilities", impression("i", 0, probabilities=[1e300, -1e300])),
        ("propensities", impression("i", 0, propensities=[0.5, math.inf])),
        ("true_probabilities", impression("i", 0, true_probabilities=[1e39, 0.0])),
        ("value", click("i", "a", 0, value=math.nan)),
        ("delay_ms", click("i", "a", 0, delay_ms=-(2**63))),
    ],
)
def test_number_that_fits_no_column_raises_format_error_naming_the_field(field: str, event: Event) -> None:
    with pytest.raises(FormatError) as caught:
        admit(encode_event(event))
    assert caught.value.field == field


def test_unknown_probability_is_admitted() -> None:
    event = admit(encode_event(impression("i", 0, probabilities=[math.nan, 0.5])))
    assert math.isnan(getattr(event, "probabilities")[0])  # noqa: B009


@pytest.mark.parametrize(
    "data",
    [
        b'{"type": "impression", "event_id": "i", "event_time_ms": 0, "session_id": "s", "unit_id": "u", "ad_ids": [], '
        b'"user": {"n": 99999999999999999999999}}',
        b'{"type": "tick", "event_id": "t", "extra": 5, "x": 1}',
        b'{"type": "feedback", "v": 1, "delay_seconds": "soon"}',
        b'{"type": []}',
        b"[" * 5000,
        b'{"type": "tick", "event_id": "t", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b"\xf5I\x02" + b"\x91" * 5000,
        b"\xf5T\x02\x81\xc4\x01x\x01",
    ],
)
def test_data_that_breaks_the_decoder_raises_format_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        admit(data)


def test_value_types_stay_as_they_were() -> None:
    features: dict[str, Any] = {"a": 1, "b": 1.0, "c": None, "d": ["x", 2]}
    event = admit(encode_event(impression("i", 0, user=features)))
    assert getattr(event, "user") == features  # noqa: B009

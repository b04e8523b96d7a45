"""Events survive the way through bytes; what is newer is kept, what is older is upgraded."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.contract import encoding
from streams.contract.encoding import decode_event, encode_event, encode_event_json
from streams.contract.errors import FormatError
from streams.contract.events import Event, Feedback, Impression, Tick


def impression(**fields: Any) -> Impression:
    return Impression(**{
        "event_id": "e1", "event_time_ms": 5, "session_id": "s", "unit_id": "u", "ad_ids": ["a", "b"], **fields
    })  # fmt: skip


EVENTS: list[Event] = [
    impression(),
    impression(
        user={"age": 3, "likes": ["x", "y"], "score": 0.5, "none": None},
        candidates={"price": [1.5, 2.0], "brand": ["p", None]},
        probabilities=[0.1, 0.2],
        positions=[1, 0],
        extra={"from_the_future": {"deep": [1]}},
    ),
    Feedback(event_id="f", event_time_ms=9, session_id="s", impression_id="e1", ad_id="a", delay_ms=4),
    Tick(event_id="t", final=True),
]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("encode", [encode_event, encode_event_json])
def test_event_through_either_form_comes_back_equal(event: Event, encode: Any) -> None:
    assert decode_event(encode(event)) == event


@given(
    st.text(),
    st.integers(-(2**63), 2**63 - 1),
    st.lists(st.text()),
    st.dictionaries(st.text(), st.one_of(st.text(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False))),
)
def test_any_impression_through_bytes_comes_back_equal(
    name: str, time_ms: int, ads: list[str], user: dict[str, Any]
) -> None:
    event = impression(event_id=name, event_time_ms=time_ms, ad_ids=ads or ["a"], user=user)
    assert decode_event(encode_event(event)) == event


def test_unknown_field_of_a_newer_writer_is_kept_and_written_back() -> None:
    fields = {**msgspec.to_builtins(EVENTS[2]), "colour": "red"}
    event = decode_event(encoding.encode_fields("feedback", fields))
    assert event.extra == {"colour": "red"}
    _, again = encoding.decode_fields(encode_event(event))
    assert again["colour"] == "red"


def test_older_version_is_upgraded_before_it_is_read() -> None:
    body = {"event_id": "f", "event_time_ms": 1, "session_id": "s", "impression_id": "i", "ad_id": "a",
            "clicked": True, "delay_seconds": 1.5}  # fmt: skip
    old = bytes((encoding.MAGIC, ord("F"), 1)) + msgspec.msgpack.encode(body)
    event = decode_event(old)
    assert isinstance(event, Feedback)
    assert (event.kind, event.delay_ms, event.extra) == ("click", 1500, {})


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"", "header"),
        (b"GET / HTTP/1.1", "header"),
        (b"\xf5Z\x02\x80", "header.kind"),
        (b"{not json", "event"),
        (b'{"type": "imprint"}', "type"),
        (b'{"type": "tick", "v": "two", "event_id": "t"}', "v"),
        (b'{"type": "feedback", "event_id": 3}', "event_id"),
    ],
)
def test_damaged_record_is_refused_with_its_field(data: bytes, field: str) -> None:
    with pytest.raises(FormatError) as caught:
        decode_event(data)
    assert caught.value.field == field


def test_truncated_record_is_refused_at_every_length() -> None:
    data = encode_event(EVENTS[1])
    for length in range(len(data)):
        with pytest.raises(FormatError):
            decode_event(data[:length])


def test_list_of_another_length_than_the_candidates_is_refused_by_name() -> None:
    with pytest.raises(FormatError, match="has 1 entries where ad_ids has 2") as caught:
        decode_event(encode_event(impression(candidates={"price": [1.0]})))
    assert caught.value.field == "candidates.price"


def test_impression_that_shows_no_ad_is_refused_in_every_form() -> None:
    empty = impression(ad_ids=[])
    for refused in (
        lambda: encode_event(empty),
        lambda: decode_event(encode_event_json(impression()).replace(b'["a","b"]', b"[]")),
        lambda: decode_event(encode_event(impression()).replace(b"\x92\xa1a\xa1b", b"\x90")),
    ):
        with pytest.raises(FormatError, match=r"ad_ids: shows no ad \(got \[\]\)\. name the ads"):
            refused()

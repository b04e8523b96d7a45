"""Our own events as a data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.contract.encoding import encode_event_json
from streams.contract.errors import FormatError
from streams.contract.events import Event, Feedback, Impression, Tick
from streams.datasets.badlines import BadLines
from streams.datasets.events_jsonl import read_events
from streams.datasets.observed import Observed
from streams.datasets.options import DatasetOptions
from streams.datasets.registry import open_dataset


def impression(number: int, time_ms: int) -> Impression:
    return Impression(
        event_id=f"i{number}", event_time_ms=time_ms, session_id="s", unit_id="u", ad_ids=["a", "b"], user={"x": 1}
    )


def feedback(number: int, time_ms: int) -> Feedback:
    return Feedback(event_id=f"f{number}", event_time_ms=time_ms, session_id="s", impression_id=f"i{number}", ad_id="a")


def write(tmp_path: Path, *events: Event | bytes) -> Path:
    path = tmp_path / "events.jsonl"
    lines = [event if isinstance(event, bytes) else encode_event_json(event) for event in events]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def read(path: Path, max_bad_lines: int = 0) -> list[Observed]:
    return list(open_dataset(f"jsonl:{path}", DatasetOptions(max_bad_lines=max_bad_lines)))


def test_feedback_finds_its_impression(tmp_path: Path) -> None:
    tick = Tick(event_id="t")
    path = write(tmp_path, impression(1, 10), impression(2, 20), feedback(1, 30), tick, feedback(2, 25))
    assert read(path) == [
        Observed(impression(1, 10), [feedback(1, 30)]),
        Observed(impression(2, 20), [feedback(2, 25)]),
    ]


def test_read_events_gives_the_lines_as_they_stand(tmp_path: Path) -> None:
    events: list[Event] = [feedback(9, 5), impression(1, 10), Tick(event_id="t", final=True)]
    assert list(read_events(write(tmp_path, *events), BadLines())) == events


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (b"{", "event"),
        (b'{"type": "view"}', "type"),
        (encode_event_json(impression(3, 10)).replace(b'"u"', b"7"), "unit_id"),
        (encode_event_json(impression(3, 9)), "event_time_ms"),
        (encode_event_json(impression(1, 10)), "event_id"),
        (encode_event_json(feedback(8, 11)), "impression_id"),
        (encode_event_json(feedback(1, 9)), "event_time_ms"),
    ],
)
def test_malformed_line_names_file_line_and_field(tmp_path: Path, bad: bytes, field: str) -> None:
    path = write(tmp_path, impression(1, 10), bad, impression(2, 20))
    with pytest.raises(FormatError, match=r"events\.jsonl:2: ") as raised:
        read(path)
    assert raised.value.field == field
    assert [o.impression.event_id for o in read(path, max_bad_lines=1)] == ["i1", "i2"]


def test_impressions_are_given_out_once_so_many_newer_ones_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.datasets.events_jsonl.MAX_OPEN", 10)
    path = write(tmp_path, *(impression(number, number) for number in range(100)), b"truncated")
    with pytest.raises(FormatError):
        read(path)
    dataset = open_dataset(f"jsonl:{path}")
    assert [next(dataset.observed).impression.event_id for _ in range(3)] == ["i0", "i1", "i2"]


def test_user_s_own_features_have_no_schema_of_ours(tmp_path: Path) -> None:
    assert open_dataset(f"jsonl:{write(tmp_path)}").schema is None

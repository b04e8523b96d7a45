"""Criteo's rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.contract.errors import FormatError
from streams.datasets.observed import Observed
from streams.datasets.options import DatasetOptions
from streams.datasets.registry import open_dataset
from tests.support.shared_data import shared_data


def row(label: str = "0", *, number: str = "5", category: str = "68fd1e64", stamp: str | None = None) -> str:
    fields = [label, number, "", *["-1"] * 11, category, "", *["0a0b0c0d"] * 24]
    return "\t".join(fields if stamp is None else [stamp, *fields])


def read(tmp_path: Path, *rows: str, max_bad_lines: int = 0) -> list[Observed]:
    path = tmp_path / "train.tsv"
    path.write_text("\n".join(rows) + "\n")
    return list(open_dataset(f"criteo:{path}", DatasetOptions(max_bad_lines=max_bad_lines)))


def test_rows_become_impressions_of_one_candidate(tmp_path: Path) -> None:
    shown, clicked = read(tmp_path, row("0"), row("1"))
    assert shown.feedback == []
    assert [f.ad_id for f in clicked.feedback] == clicked.impression.ad_ids
    context, candidates = shown.impression.context, shown.impression.candidates
    assert (context["I1"], context["I2"], context["C1"], context["C2"]) == (5, None, "68fd1e64", None)
    assert (candidates["I13"], candidates["C26"]) == ([-1], ["0a0b0c0d"])
    assert clicked.impression.event_time_ms - shown.impression.event_time_ms == 1_000


@pytest.mark.parametrize("stamp", ["1500000000", "1500000000000"])
def test_leading_timestamp_in_seconds_or_milliseconds_is_the_time(tmp_path: Path, stamp: str) -> None:
    (observed,) = read(tmp_path, row(stamp=stamp))
    assert observed.impression.event_time_ms == 1_500_000_000_000


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (row("2"), "label"),
        (row(number="five"), "I1"),
        (row(category="XYZ"), "C1"),
        (row(stamp="soon"), "timestamp"),
        (row()[:-30], "line"),
        ("", "line"),
    ],
)
def test_malformed_row_names_file_line_and_field(tmp_path: Path, bad: str, field: str) -> None:
    with pytest.raises(FormatError, match=r"train\.tsv:2: ") as raised:
        read(tmp_path, row(), bad, row())
    assert raised.value.field == field
    assert "--max-bad-lines" in str(raised.value.remedy)
    assert len(read(tmp_path, row(), bad, row(), max_bad_lines=1)) == 2


def test_time_that_goes_back_is_malformed(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="is earlier than the line before"):
        read(tmp_path, row(stamp="1500000001"), row(stamp="1500000000"))


def test_reading_twice_gives_the_same_ids(tmp_path: Path) -> None:
    ids = [[o.impression.event_id for o in read(tmp_path, row(), row("1"))] for _ in range(2)]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


def test_shared_log_has_as_many_rows_and_clicks_as_stated() -> None:
    dataset = open_dataset(f"criteo:{shared_data('criteo/train.tsv')}")
    observed = list(dataset)
    assert len(observed) == 7_200
    assert sum(len(o.feedback) for o in observed) / 7_200 == pytest.approx(0.215, abs=5e-4)

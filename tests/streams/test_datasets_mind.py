"""MIND's impressions."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.contract.errors import FormatError, NotFoundError
from streams.datasets.observed import Observed
from streams.datasets.options import DatasetOptions
from streams.datasets.registry import open_dataset
from tests.support.shared_data import shared_data

LATER = "1\tU1\t11/12/2019 2:14:46 PM\tN1 N2\tN3-0 N4-1"
EARLIER = "2\tU2\t11/12/2019 2:14:45 PM\t\tN4-1 N5-0 N3-0"
NEWS = "N4\tsports\tgolf\tTitle\tText\turl\t[]\t[]"


def read(tmp_path: Path, *rows: str, news: str | None = NEWS, max_bad_lines: int = 0) -> list[Observed]:
    (tmp_path / "behaviors.tsv").write_text("\n".join(rows) + "\n")
    if news is not None:
        (tmp_path / "news.tsv").write_text(news + "\n")
    return list(open_dataset(f"mind:{tmp_path}", DatasetOptions(max_bad_lines=max_bad_lines)))


def test_impressions_come_by_time_with_their_candidates_and_clicks(tmp_path: Path) -> None:
    first, second = (o.impression for o in read(tmp_path, LATER, EARLIER))
    assert (first.event_id, second.event_id) == ("mind-2", "mind-1")
    assert second.event_time_ms == 1_573_568_086_000
    assert second.ad_ids == ["N3", "N4"]
    assert second.user["history"] == ["N1", "N2"]
    assert first.user["history"] == []
    assert second.candidates["category"] == [None, "sports"]


def test_clicks_are_of_the_candidates_marked_1(tmp_path: Path) -> None:
    (observed,) = read(tmp_path, LATER)
    (click,) = observed.feedback
    assert (click.ad_id, click.impression_id, click.session_id, click.delay_ms) == ("N4", "mind-1", "U1", None)


def test_counters_tell_what_was_before_and_not_the_present(tmp_path: Path) -> None:
    first, second = (o.impression.candidates for o in read(tmp_path, LATER, EARLIER))
    assert (first["clicks_day"], first["views_day"]) == ([0, 0, 0], [0, 0, 0])
    assert (second["clicks_day"], second["views_day"]) == ([0, 1], [1, 1])


def test_without_news_the_categories_are_unknown(tmp_path: Path) -> None:
    (observed,) = read(tmp_path, LATER, news=None)
    assert observed.impression.candidates["subcategory"] == [None, None]


def test_long_history_keeps_the_newest(tmp_path: Path) -> None:
    history = " ".join(f"N{i}" for i in range(80))
    (observed,) = read(tmp_path, LATER.replace("N1 N2", history))
    kept = observed.impression.user["history"]
    assert isinstance(kept, list)
    assert (len(kept), kept[-1]) == (50, "N79")
    assert observed.impression.user["history_length"] == 80


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (LATER.replace("2:14:46 PM", "14h"), "time"),
        (LATER.replace("N4-1", "N4"), "candidates"),
        (LATER.replace("N4-1", "N4-2"), "candidates"),
        (LATER.replace("N4-1", "N3-1"), "candidates"),
        (LATER.replace("N3-0 N4-1", " "), "candidates"),
        ("1\tU1", "line"),
    ],
)
def test_malformed_row_names_file_line_and_field(tmp_path: Path, bad: str, field: str) -> None:
    with pytest.raises(FormatError, match=r"behaviors\.tsv:2: ") as raised:
        read(tmp_path, LATER, bad, EARLIER)
    assert raised.value.field == field
    assert len(read(tmp_path, LATER, bad, EARLIER, max_bad_lines=1)) == 2


def test_malformed_news_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"news\.tsv:1: has 2 fields"):
        read(tmp_path, LATER, news="N4\tsports")


def test_folder_without_behaviors_is_refused_on_opening(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"behaviors\.tsv"):
        open_dataset(f"mind:{tmp_path}")


def test_shared_log_has_as_many_impressions_rows_and_clicks_as_stated_in_order() -> None:
    observed = list(open_dataset(f"mind:{shared_data('mind')}"))
    rows = sum(len(o.impression.ad_ids) for o in observed)
    times = [o.impression.event_time_ms for o in observed]
    assert (len(observed), rows) == (5_000, 189_359)
    assert sum(len(o.feedback) for o in observed) / rows == pytest.approx(0.0398, abs=5e-5)
    assert times == sorted(times)
    assert len({o.impression.event_id for o in observed}) == 5_000

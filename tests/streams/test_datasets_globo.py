"""Globo's clicks."""

from __future__ import annotations

import gzip
from itertools import islice, pairwise
from pathlib import Path

import pytest

from streams.contract.errors import FormatError, NotFoundError
from streams.datasets.globo import COLUMNS
from streams.datasets.observed import Observed
from streams.datasets.options import DatasetOptions
from streams.datasets.registry import open_dataset
from tests.support.shared_data import shared_data

START_MS = 1_506_825_600_000
HOUR_MS = 3_600_000


def click(*, user: int = 1, start: int = 0, article: int = 10, time: int = 0) -> str:
    """One row; times in milliseconds from START_MS."""
    return f"{user},{user * 100},{START_MS + start},2,{article},{START_MS + time},4,3,20,1,21,2"


def write_hour(directory: Path, hour: int, *rows: str, header: str = COLUMNS) -> None:
    content = "\n".join([header, *rows]) + "\n"
    (directory / f"clicks_hour_{hour:03d}.csv.gz").write_bytes(gzip.compress(content.encode()))


def read(directory: Path, **options: object) -> list[Observed]:
    return list(open_dataset(f"globo:{directory}", DatasetOptions(**options)))  # type: ignore[arg-type]


def test_clicks_of_all_files_come_by_their_own_time(tmp_path: Path) -> None:
    write_hour(tmp_path, 0, click(article=1, time=2 * HOUR_MS), click(user=2, start=5, article=2, time=9))
    write_hour(tmp_path, 1)
    write_hour(tmp_path, 2, click(user=3, start=HOUR_MS, article=3, time=HOUR_MS + 1))
    observed = read(tmp_path)
    assert [o.feedback[0].ad_id for o in observed] == ["2", "3", "1"]
    assert [o.impression.event_time_ms - START_MS for o in observed] == [9, HOUR_MS + 1, 2 * HOUR_MS]
    assert [o.impression.event_id for o in observed] == ["globo-000-3", "globo-002-2", "globo-000-2"]


def test_session_size_is_nowhere_in_the_impression(tmp_path: Path) -> None:
    write_hour(tmp_path, 0, click().replace(",2,10,", ",987654,10,"))
    (observed,) = read(tmp_path)
    assert "987654" not in repr(observed)


def test_negatives_are_articles_of_the_hour_before_and_never_the_clicked_one(tmp_path: Path) -> None:
    rows = [click(user=i, start=i * 60_000, article=i % 30, time=i * 60_000) for i in range(300)]
    write_hour(tmp_path, 0, *rows)
    observed = read(tmp_path)
    for i, o in enumerate(observed):
        clicked = str(i % 30)
        recent = {str(j % 30) for j in range(max(0, i - 60), i)}
        assert o.impression.ad_ids.count(clicked) == 1
        assert set(o.impression.ad_ids) - {clicked} <= recent
        assert len(o.impression.ad_ids) == len(set(o.impression.ad_ids)) == 1 + min(4, len(recent - {clicked}))


def test_clicked_article_stands_at_every_place_alike(tmp_path: Path) -> None:
    write_hour(tmp_path, 0, *(click(user=i, start=i, article=i % 50, time=i) for i in range(2_000)))
    places = [o.impression.ad_ids.index(o.feedback[0].ad_id) for o in read(tmp_path)[100:]]
    shares = [places.count(place) / len(places) for place in range(5)]
    assert all(0.16 < share < 0.24 for share in shares)


def test_seed_and_way_of_drawing_decide_the_negatives(tmp_path: Path) -> None:
    write_hour(tmp_path, 0, *(click(user=i, start=i, article=(i * i) % 97, time=i) for i in range(500)))

    def shown(**options: object) -> list[list[str]]:
        return [o.impression.ad_ids for o in read(tmp_path, **options)]

    assert shown(seed=1) == shown(seed=1)
    assert shown(seed=1) != shown(seed=2)
    assert shown(negatives="uniform") != shown(negatives="popularity")
    assert {len(ads) for ads in shown(num_negatives=0)} == {1}


def test_counters_and_history_tell_the_past_alone(tmp_path: Path) -> None:
    times = [0, 1_000, 2 * HOUR_MS]
    write_hour(tmp_path, 0, *(click(start=0, article=7, time=time) for time in times))
    columns = [o.impression.candidates for o in read(tmp_path)]
    assert [c["clicks_hour"] for c in columns] == [[0], [1], [0]]
    assert [c["clicks_day"] for c in columns] == [[0], [1], [2]]
    assert [o.impression.user["history"] for o in read(tmp_path)] == [[], ["7"], ["7", "7"]]
    assert [o.impression.user["last_article"] for o in read(tmp_path)] == [None, "7", "7"]


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (click(start=10, time=20).replace("4,3,20", "4,x,20"), "line"),
        (click(start=10, time=9), "click_timestamp"),
        (click(start=0, time=20), "session_start"),
        ("1,2,3", "line"),
    ],
)
def test_malformed_row_names_file_line_and_field(tmp_path: Path, bad: str, field: str) -> None:
    write_hour(tmp_path, 0, click(start=1, time=1), bad, click(start=30, time=30))
    with pytest.raises(FormatError, match=r"clicks_hour_000\.csv\.gz:3: ") as raised:
        read(tmp_path)
    assert raised.value.field == field
    assert len(read(tmp_path, max_bad_lines=1)) == 2


def test_other_header_is_malformed(tmp_path: Path) -> None:
    write_hour(tmp_path, 0, header=COLUMNS.replace("session_size", "session_length"))
    with pytest.raises(FormatError, match="is not the header"):
        read(tmp_path)


def test_folder_without_click_files_is_refused_on_opening(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="clicks_hour"):
        open_dataset(f"globo:{tmp_path}")


def test_first_clicks_of_the_shared_log_are_in_order_with_four_negatives() -> None:
    dataset = open_dataset(f"globo:{shared_data('globo')}", DatasetOptions(negatives="popularity"))
    observed = list(islice(dataset, 20_000))
    times = [o.impression.event_time_ms for o in observed]
    assert all(before <= after for before, after in pairwise(times))
    assert all(len(o.impression.ad_ids) == 5 for o in observed[100:])
    assert len({o.impression.event_id for o in observed}) == 20_000

"""MovieLens ratings, in three forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streams.contract.errors import FormatError, NotFoundError
from streams.datasets.observed import Observed
from streams.datasets.options import DatasetOptions
from streams.datasets.registry import open_dataset
from tests.support.shared_data import shared_data


def read(path: Path, max_bad_lines: int = 0) -> list[Observed]:
    return list(open_dataset(f"movielens:{path}", DatasetOptions(max_bad_lines=max_bad_lines)))


def rating(**changes: object) -> str:
    fields = {"uid": 4, "iid": 9, "label": 1, "timestamp": 991_356_108, "title": "Toy Story (1995)", "his": [0, 5, 6]}
    return json.dumps(fields | changes)


def write_1m(directory: Path) -> None:
    (directory / "ratings.dat").write_text("1::20::5::978300002\n1::10::3::978300001\n1::10::4::978300003\n")
    (directory / "movies.dat").write_text("10::Toy Story (1995)::Animation|Comedy\n", encoding="latin-1")
    (directory / "users.dat").write_text("1::F::18::10::48067\n")


def test_events_carry_history_without_padding_and_genres_by_title(tmp_path: Path) -> None:
    write_1m(tmp_path)
    (tmp_path / "events.jsonl").write_text(rating() + "\n" + rating(label=0, title="?") + "\n")
    liked, disliked = read(tmp_path)
    assert liked.impression.user == {"user_id": "4", "history": ["5", "6"]}
    assert liked.impression.candidates == {"movie_id": ["9"], "genres": [["Animation", "Comedy"]], "year": [1995]}
    assert (len(liked.feedback), len(disliked.feedback)) == (1, 0)
    assert disliked.impression.candidates["genres"] == [[]]


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (rating(uid="four"), "uid"),
        (rating(label=2), "label"),
        (rating(timestamp=5), "timestamp"),
        (rating()[:30], "line"),
    ],
)
def test_malformed_event_names_file_line_and_field(tmp_path: Path, bad: str, field: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join([rating(), bad, rating()]) + "\n")
    with pytest.raises(FormatError, match=r"events\.jsonl:2: ") as raised:
        read(path)
    assert raised.value.field == field
    assert len(read(path, max_bad_lines=1)) == 2


def test_ml_1m_comes_by_time_with_likes_remembered(tmp_path: Path) -> None:
    write_1m(tmp_path)
    observed = read(tmp_path)
    assert [o.impression.ad_ids for o in observed] == [["10"], ["20"], ["10"]]
    assert [len(o.feedback) for o in observed] == [0, 1, 1]
    assert [o.impression.user["history"] for o in observed] == [[], [], ["20"]]
    assert observed[0].impression.user["occupation"] == "10"
    assert observed[1].impression.candidates["year"] == [None]


def test_ml_100k_comes_by_time_with_users_and_genres(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("1\t20\t5\t978300002\n2\t10\t3\t978300001\n")
    (tmp_path / "u.item").write_text("10|Toy Story (1995)|01-Jan-1995||url|0|0|0|1" + "|0" * 15 + "\n")
    (tmp_path / "u.user").write_text("2|24|M|technician|85711\n")
    first, second = read(tmp_path)
    assert first.impression.user["age"] == 24
    assert first.impression.candidates["genres"] == [["Animation"]]
    assert second.impression.user == {"user_id": "1", "history": []}


def test_malformed_rating_names_file_line_and_field(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("1::20::5::978300002\n1::20::good::978300002\n")
    with pytest.raises(FormatError, match=r"ratings\.dat:2: ") as raised:
        read(tmp_path)
    assert raised.value.field == "rating"
    assert len(read(tmp_path, max_bad_lines=1)) == 1


def test_path_without_ratings_is_refused_on_opening(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        open_dataset(f"movielens:{tmp_path}")
    with pytest.raises(NotFoundError):
        open_dataset(f"movielens:{tmp_path / 'events.jsonl'}")


def test_shared_log_has_as_many_ratings_as_stated_and_knows_most_genres() -> None:
    observed = list(open_dataset(f"movielens:{shared_data('movielens_1m')}"))
    assert len(observed) == 51_623
    assert sum(o.impression.candidates["genres"] != [[]] for o in observed) / 51_623 > 0.95

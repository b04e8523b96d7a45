"""Likes and texts out of files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from llm_rec.interactions import Interactions, k_core
from llm_rec.sources import TEST, TRAIN, VALID, core_of, load
from streams.contract.errors import FormatError, InputError, NotFoundError
from tests.support.shared_data import shared_data


def write_movielens(folder: Path, *ratings: dict[str, object]) -> str:
    """events.jsonl of what is told of each rating; returns the spec."""
    usual = {"uid": 4, "iid": 9, "label": 1, "timestamp": 991_356_108, "title": "Toy Story (1995)", "his": [0]}
    (folder / "events.jsonl").write_text("".join(json.dumps(usual | each) + "\n" for each in ratings))
    (folder / "movies.dat").write_text("10::Toy Story (1995)::Animation|Comedy\n", encoding="latin-1")
    return f"movielens:{folder}"


def write_amazon(folder: Path, *sequences: str, texts: str = "B1 rose water\nB2 \n") -> str:
    (folder / "user_sequence.txt").write_text("".join(f"{each}\n" for each in sequences))
    (folder / "item_generative_indexing_phase_0.txt").write_text(texts)
    return f"amazon:{folder}"


def test_films_liked_come_with_time_part_and_a_text_of_title_and_genres(tmp_path: Path) -> None:
    spec = write_movielens(tmp_path, {"split": "train"}, {"split": "train", "label": 0, "iid": 5},
                           {"split": "test", "iid": 6, "title": "?", "timestamp": 991_356_109})  # fmt: skip
    source = load(spec)
    likes = source.interactions
    assert (likes.users, likes.items) == (("4",), ("9", "6"))
    assert likes.time_ms.tolist() == [991_356_108_000, 991_356_109_000]
    assert source.catalogue.texts == ("Toy Story (1995), Animation, Comedy", "?")
    assert source.part is not None
    assert source.part.tolist() == [TRAIN, TEST]


def test_second_like_of_the_same_film_is_left_out(tmp_path: Path) -> None:
    spec = write_movielens(tmp_path, {"split": "valid"}, {"split": "test", "timestamp": 991_356_200})
    source = load(spec)
    assert source.interactions.item.tolist() == [0]
    assert source.part is not None
    assert source.part.tolist() == [VALID]


def test_file_without_marks_has_no_parts(tmp_path: Path) -> None:
    assert load(write_movielens(tmp_path, {}, {"iid": 6})).part is None


def test_sequences_keep_their_order_and_items_without_text_have_none(tmp_path: Path) -> None:
    source = load(write_amazon(tmp_path, "A1 B2 B1", "A2 B3"))
    likes = source.interactions
    texts = dict(zip(likes.items, source.catalogue.texts, strict=True))
    assert texts == {"B1": "rose water", "B2": "", "B3": ""}
    assert [[likes.items[item] for item in of] for of in likes.by_user()] == [["B2", "B1"], ["B3"]]
    assert not source.has_time


@pytest.mark.parametrize("spec", ["nosuch:there", "movielens", "amazon:", "mind:there"])
def test_unknown_format_names_those_there_are(spec: str) -> None:
    with pytest.raises(InputError, match="movielens:DIR, amazon:DIR"):
        load(spec)


@pytest.mark.parametrize("name", ["movielens", "amazon"])
def test_missing_files_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFoundError):
        load(f"{name}:{tmp_path}")
    with pytest.raises(NotFoundError):
        load(f"{name}:{tmp_path / 'nosuch'}")


def test_split_that_is_none_of_the_three_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"events\.jsonl:2: ") as raised:
        load(write_movielens(tmp_path, {"split": "train"}, {"split": "later"}))
    assert raised.value.field == "split"


def test_core_drops_until_all_that_is_left_has_enough(tmp_path: Path) -> None:
    spec = write_amazon(tmp_path, "A1 B1 B2", "A2 B1 B2", "A3 B2 B3", "A4 B3")
    core = load(spec, least_likes=2)
    assert core.interactions.users == ("A1", "A2")
    assert core.interactions.items == ("B1", "B2")
    assert core.catalogue.texts == ("rose water", "")
    assert [items.tolist() for items in core.interactions.by_user()] == [[0, 1], [0, 1]]
    with pytest.raises(InputError, match="leaves no like"):
        core_of(core, 3)


def test_users_without_likes_have_empty_arrays() -> None:
    likes = Interactions(("a", "b", "c"), ("x", "y"), np.array([2, 0, 2]), np.array([1, 0, 0]), np.arange(3))
    assert [items.tolist() for items in likes.by_user()] == [[0], [], [1, 0]]
    assert k_core(likes, 1).all()


def test_real_movielens_is_in_the_order_of_time_and_marks_every_like() -> None:
    source = load(f"movielens:{shared_data('movielens_1m')}")
    assert (len(source.interactions.users), len(source.interactions.items)) == (825, 2694)
    assert (np.diff(source.interactions.time_ms) >= 0).all()
    assert source.part is not None
    assert np.bincount(source.part).tolist() == [18_191, 5_495, 3_998]
    assert all(source.catalogue.texts)


def test_real_amazon_seven_core_has_seven_likes_of_everyone() -> None:
    source = load(f"amazon:{shared_data('amazon_beauty')}", least_likes=7)
    assert min(map(len, source.interactions.by_user())) == 7
    assert np.bincount(source.interactions.item).min() == 7
    assert len(source.interactions.user) == 60_276

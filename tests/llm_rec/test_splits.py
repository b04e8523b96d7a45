"""Who is asked what: the splits, and the histories at validation and test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_rec.held_out import HeldOutConfig, histories, measure
from llm_rec.interactions import Catalogue, Interactions
from llm_rec.sources import Source
from llm_rec.splits import Split, random_split, split_by, time_split
from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.values import Floats


def source(num_likes: list[int], *, part: list[int] | None = None, has_time: bool = False) -> Source:
    """User u likes items 0, 1, ... num_likes[u] - 1 in this order."""
    user = np.repeat(np.arange(len(num_likes)), num_likes)
    item = np.concatenate([np.arange(each) for each in num_likes])
    order = np.argsort(item, kind="stable")
    names = tuple(map(str, range(len(num_likes)))), tuple(map(str, range(max(num_likes))))
    likes = Interactions(*names, user[order], item[order], item[order])
    return Source("here", likes, Catalogue(("",) * max(num_likes)), None if part is None else np.array(part), has_time)


def as_lists(parts: list[Array]) -> list[list[int]]:
    return [part.tolist() for part in parts]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.integers(0, 5))
def test_random_split_holds_out_a_tenth_at_least_one_and_loses_nothing(num_likes: list[int], seed: int) -> None:
    split = random_split(source(num_likes), seed=seed)
    for user, count in enumerate(num_likes):
        parts = split.train[user], split.valid[user], split.test[user]
        held = max(1, int(0.1 * count)) if count >= 3 else 0
        assert [len(part) for part in parts] == [count - 2 * held, held, held]
        assert sorted(np.concatenate(parts)) == list(range(count))
        assert all((np.diff(part) > 0).all() for part in parts)


def test_random_split_is_that_of_its_seed() -> None:
    first, again, other = (random_split(source([40, 40]), seed=seed) for seed in (1, 1, 2))
    assert as_lists(first.test) == as_lists(again.test) != as_lists(other.test)


def test_split_by_order_takes_the_ends_and_spares_users_of_fewer_than_three() -> None:
    split = time_split(source([21, 3, 2]))
    assert as_lists(split.test) == [[19, 20], [2], []]
    assert as_lists(split.valid) == [[17, 18], [1], []]
    assert as_lists(split.train) == [list(range(17)), [0], [0, 1]]
    assert split.train_time_ms is None


def test_marked_parts_are_the_time_split_and_times_come_with_them() -> None:
    split = time_split(source([4], part=[0, 0, 1, 2], has_time=True))
    assert (as_lists(split.train), as_lists(split.valid), as_lists(split.test)) == ([[0, 1]], [[2]], [[3]])
    assert split.train_time_ms is not None
    assert as_lists(split.train_time_ms) == [[0, 1]]


def test_time_without_marks_is_refused_and_an_unknown_split_too() -> None:
    with pytest.raises(InputError, match="marks no train, valid and test"):
        split_by("time", source([4], has_time=True), seed=0)
    with pytest.raises(InputError, match="random, time"):
        split_by("nosuch", source([4]), seed=0)


@pytest.mark.parametrize(("name", "known"), [("time", [0, 1, 2]), ("random", [0, 1])])
def test_history_at_test_has_validation_likes_on_a_time_split_alone(name: str, known: list[int]) -> None:
    split = three_parts(name)
    assert as_lists(histories(split, "valid", np.array([0]))) == [[0, 1]]
    assert as_lists(histories(split, "test", np.array([0]))) == [known]


def three_parts(name: str) -> Split:
    return Split(name, ("0",), ("0", "1", "2", "3"), [np.array([0, 1])], [np.array([2])], [np.array([3])])


class _LikesInOrder:
    """Always the smallest item number first."""

    name = "in-order"

    def fit(self, split: Split, catalogue: Catalogue, *, seed: int) -> None:
        """Knows it all."""

    def scores(self, users: Array, histories: list[Array]) -> Floats:
        """(B, 4)."""
        return np.tile(-np.arange(4, dtype=np.float32), (len(users), 1))


def test_validation_item_is_no_candidate_at_test_unless_masking_is_off() -> None:
    masked = measure(_LikesInOrder(), three_parts("random"), "test")
    unmasked = measure(_LikesInOrder(), three_parts("random"), "test", HeldOutConfig(mask_valid=False))
    assert masked.values["ndcg_at_100"].tolist() == [1.0]
    assert unmasked.values["ndcg_at_100"].tolist() == pytest.approx([1 / np.log2(3)])


def test_history_is_masked_with_masking_of_validation_off_too() -> None:
    found = measure(_LikesInOrder(), three_parts("time"), "test", HeldOutConfig(mask_valid=False))
    assert found.values["ndcg_at_100"].tolist() == [1.0]


def test_nobody_with_held_out_likes_gives_no_metrics_and_no_nan() -> None:
    found = measure(_LikesInOrder(), time_split(source([2, 1])), "test")
    assert found.users.tolist() == []
    assert all(values.tolist() == [] for values in found.values.values())

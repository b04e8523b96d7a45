"""Recall and NDCG, against values computed by hand and against what must always hold."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_rec.ranking_metrics import METRICS, UserMetrics, ranks, user_metrics
from streams.contract.columns import Array
from streams.contract.errors import FreshetError
from streams.contract.values import Floats


def items(*numbers: int) -> Array:
    return np.array(numbers, dtype=np.int64)


def of(scores: Floats, relevant: list[Array], seen: list[Array] | None = None) -> UserMetrics:
    return user_metrics(np.arange(len(scores)), scores, relevant, seen or [items()] * len(scores))


def descending(num_items: int) -> Floats:
    """Item 0 first, then 1, 2, ..."""
    return -np.arange(num_items, dtype=np.float32)[None]


def test_recall_and_ndcg_are_those_computed_by_hand() -> None:
    found = of(descending(200), [items(1, 19, 20, 150)])
    assert found.values["recall_at_20"].tolist() == [2 / 4]
    assert found.values["recall_at_40"].tolist() == [3 / 4]
    gain = 1 / log2(3) + 1 / log2(21) + 1 / log2(22)
    ideal = 1 / log2(2) + 1 / log2(3) + 1 / log2(4) + 1 / log2(5)
    assert found.values["ndcg_at_100"][0] == pytest.approx(gain / ideal)


def test_more_relevant_items_than_places_can_still_reach_one() -> None:
    found = of(descending(300), [np.arange(120)])
    assert [found.values[metric][0] for metric in METRICS] == pytest.approx([1.0, 1.0, 1.0])


def test_seen_items_take_no_place_and_are_not_relevant() -> None:
    found = of(descending(50), [items(3, 22)], [items(0, 1, 2, 3)])
    assert found.values["recall_at_20"].tolist() == [1.0]
    assert found.values["ndcg_at_100"][0] == pytest.approx(1 / log2(18 + 2))


def test_user_with_nothing_to_be_found_is_left_out() -> None:
    found = of(np.repeat(descending(5), 3, axis=0), [items(), items(0), items(2)], [items(), items(), items(2)])
    assert found.users.tolist() == [1]
    assert all(values.tolist() == [1.0] for values in found.values.values())


def test_equal_scores_stand_in_the_order_of_item_numbers() -> None:
    scores = np.array([[1, 2, 1, 2, 1]], dtype=np.float32)
    rank = ranks(scores, np.zeros((1, 5), dtype=np.bool_), np.zeros(5, dtype=np.int64), np.arange(5))
    assert rank.tolist() == [2, 0, 3, 1, 4]


def test_score_that_is_not_a_number_names_the_user() -> None:
    scores = np.array([[0, 1], [0, np.nan]], dtype=np.float32)
    with pytest.raises(FreshetError, match=r"not a number \(got 7\)"):
        user_metrics(items(5, 7), scores, [items(0), items(0)], [items(), items()])


cases = st.integers(2, 150).flatmap(
    lambda num_items: st.tuples(
        st.lists(st.integers(0, 5), min_size=num_items, max_size=num_items),
        st.sets(st.integers(0, num_items - 1)),
        st.sets(st.integers(0, num_items - 1)),
    )
)


@given(cases)
@settings(max_examples=200, deadline=None)
def test_metrics_are_those_of_a_sorted_list(case: tuple[list[int], set[int], set[int]]) -> None:
    numbers, relevant, seen = case
    found = of(np.array([numbers], dtype=np.float32), [items(*relevant)], [items(*seen)])
    order = [j for j in sorted(range(len(numbers)), key=lambda j: (-numbers[j], j)) if j not in seen]
    wanted = relevant - seen
    assert len(found.users) == bool(wanted)
    if wanted:
        for k in (20, 40):
            recall = len(wanted & set(order[:k])) / min(k, len(wanted))
            assert found.values[f"recall_at_{k}"][0] == pytest.approx(recall)
        gain = sum(1 / log2(rank + 2) for rank, j in enumerate(order[:100]) if j in wanted)
        ideal = sum(1 / log2(rank + 2) for rank in range(min(100, len(wanted))))
        assert found.values["ndcg_at_100"][0] == pytest.approx(gain / ideal)


@given(cases)
@settings(max_examples=100, deadline=None)
def test_perfect_ranking_is_one_and_its_reverse_no_better(case: tuple[list[int], set[int], set[int]]) -> None:
    numbers, relevant, _ = case
    perfect = np.zeros((1, len(numbers)), dtype=np.float32)
    perfect[0, list(relevant)] = 1
    found, reverse = (of(scores, [items(*relevant)]) for scores in (perfect, -perfect))
    for metric in METRICS:
        assert found.values[metric].tolist() == pytest.approx([1.0] * bool(relevant))
        assert (reverse.values[metric] <= found.values[metric]).all()

"""What was clicked in the time before."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from streams.datasets.history import RecentHistory
from streams.datasets.options import Negatives
from streams.datasets.trailing import TrailingCounts, TrailingItems

WAYS: list[Negatives] = ["uniform", "popularity"]


def test_counts_forget_what_left_the_window() -> None:
    counts = TrailingCounts(1_000, num_buckets=10)
    for time_ms in (0, 50, 500, 999):
        counts.add(time_ms, "a")
    counts.advance(999)
    assert counts.count("a") == 4
    counts.advance(1_099)
    assert counts.count("a") == 2
    counts.advance(10_000)
    assert counts.count("a") == 0


def test_counts_hold_no_more_than_the_window_however_long_the_stream() -> None:
    counts = TrailingCounts(1_000, num_buckets=10)
    for time_ms in range(0, 100_000, 10):
        counts.advance(time_ms)
        counts.add(time_ms, f"item-{time_ms}")
    assert len(counts._total) <= 100
    assert len(counts._buckets) <= 10


@pytest.mark.parametrize("how", WAYS)
def test_drawn_items_differ_and_leave_out_the_clicked_one(how: Negatives) -> None:
    items = TrailingItems(1_000)
    for time_ms, item in enumerate("aaaaaabbcdefg"):
        items.add(time_ms, item)
    for seed in range(50):
        drawn = items.draw(random.Random(seed), how, 3, other_than="a")
        assert len(set(drawn)) == 3
        assert set(drawn) <= set("bcdefg")


@pytest.mark.parametrize("how", WAYS)
def test_fewer_items_than_asked_for_gives_those_there_are(how: Negatives) -> None:
    items = TrailingItems(1_000)
    assert items.draw(random.Random(0), how, 3, other_than="a") == []
    for time_ms, item in enumerate("ab"):
        items.add(time_ms, item)
    assert items.draw(random.Random(0), how, 3, other_than="a") == ["b"]


def test_popularity_draws_by_count_and_uniform_does_not() -> None:
    items = TrailingItems(1_000)
    for time_ms, item in enumerate("a" * 80 + "b" * 10 + "c" * 10):
        items.add(time_ms, item)
    rng = random.Random(0)
    popular = Counter(items.draw(rng, "popularity", 1, other_than="x")[0] for _ in range(2_000))
    uniform = Counter(items.draw(rng, "uniform", 1, other_than="x")[0] for _ in range(2_000))
    assert 0.75 < popular["a"] / 2_000 < 0.85
    assert 0.28 < uniform["a"] / 2_000 < 0.39


def test_one_item_that_has_nearly_all_clicks_does_not_stop_the_draw() -> None:
    items = TrailingItems(1_000_000)
    for time_ms, item in enumerate(["a"] * 100_000 + ["b", "c", "d"]):
        items.add(time_ms, item)
    assert set(items.draw(random.Random(0), "popularity", 2, other_than="a")) < {"b", "c", "d"}


def test_items_that_left_the_window_are_never_drawn() -> None:
    items = TrailingItems(100)
    for time_ms in range(0, 10_000, 10):
        items.advance(time_ms)
        items.add(time_ms, str(time_ms))
    drawn = items.draw(random.Random(0), "uniform", 5, other_than="")
    assert all(int(item) >= 9_890 for item in drawn)
    assert len(items._distinct) == len(items._place) == len(items._counts) == 11


def test_history_keeps_the_newest_items_of_the_newest_units() -> None:
    history = RecentHistory(length=2, max_units=2)
    for unit, item in [("u", "1"), ("u", "2"), ("u", "3"), ("v", "4"), ("u", "5"), ("w", "6")]:
        history.add(unit, item)
    assert [history.of(unit) for unit in ("u", "v", "w")] == [["3", "5"], [], ["6"]]

"""Items for who has no recommender: the clicked first, the new among them, memory bounded."""

from __future__ import annotations

from typing import Any

import pytest

from serving.gateway.candidate_pool import CandidatePool, PoolConfig
from streams.contract.errors import InputError
from streams.contract.events import Feedback, Impression

HOUR_MS = 3_600_000


def shown(ads: list[str], at_ms: int = 0, **more: Any) -> Impression:
    """One impression."""
    return Impression(event_id="i", event_time_ms=at_ms, session_id="s", unit_id="u", ad_ids=ads, **more)


def click(ad: str, at_ms: int = 0, kind: str = "click") -> Feedback:
    """One feedback."""
    return Feedback(event_id="f", event_time_ms=at_ms, session_id="s", impression_id="i", ad_id=ad, kind=kind)


def pool_of(**config: Any) -> CandidatePool:
    """A pool whose order is never old."""
    return CandidatePool(PoolConfig(refresh_seconds=0.0, **config))


def test_clicked_item_comes_first_and_other_feedback_does_not_count() -> None:
    pool = pool_of(num_newest=0)
    pool.observe([*[shown(["a", "b", "c"])] * 100, *[click("b")] * 9, *[click("c", kind="conversion")] * 50])
    assert pool.candidates(2)[0] == "b"
    assert set(pool.candidates(9)) == {"a", "b", "c"}


def test_what_is_excluded_is_never_handed_out() -> None:
    pool = pool_of()
    pool.observe([shown([f"i{n}" for n in range(20)])])
    assert set(pool.candidates(100, {"i3", "i19"})) == {f"i{n}" for n in range(20)} - {"i3", "i19"}


def test_new_item_is_among_the_candidates_though_others_are_clicked_more() -> None:
    pool = pool_of(num_newest=1)
    pool.observe([shown(["old", "older", "oldest", "well", "known"])] * 100)
    pool.observe([click(ad) for ad in ("old", "older", "oldest", "well", "known") for _ in range(50)])
    pool.observe([shown(["new"])] * 100)
    assert "new" in pool.candidates(4)
    assert len(pool.candidates(4)) == 4


def test_features_are_those_of_an_impression_of_the_item_and_empty_of_an_unknown_one() -> None:
    pool = pool_of()
    pool.observe([shown(["a", "b"], candidates={"price": [1.5, None], "ad_id": ["a", "b"]}), shown(["c"])])
    assert pool.features(["b", "a", "c", "nobody"]) == [
        {"price": None, "ad_id": "b"}, {"price": 1.5, "ad_id": "a"}, {}, {},
    ]  # fmt: skip


def test_only_the_best_ranked_of_a_long_impression_count_as_shown() -> None:
    pool = pool_of(rows_an_impression=2)
    pool.observe([shown(["w", "x", "y", "z"], positions=[3, 0, 2, 1]), shown(["p", "q", "r"])])
    assert set(pool.candidates(9)) == {"x", "z", "p", "q"}


def test_clicks_fade_with_the_datas_clock() -> None:
    pool = pool_of(num_newest=0, half_life_ms=HOUR_MS, prior_shows=10.0)
    pool.observe([*[shown(["once"])] * 40, *[click("once")] * 20])
    for hour in range(1, 12):
        pool.observe([shown(["now", "once"], hour * HOUR_MS)] * 10 + [click("now", hour * HOUR_MS)] * 4)
    assert pool.candidates(1) == ["now"]


def test_item_not_seen_for_many_half_lives_is_forgotten() -> None:
    pool = pool_of(half_life_ms=HOUR_MS)
    pool.observe([shown(["gone"])])
    for hour in range(1, 12):
        pool.observe([shown(["here"], hour * HOUR_MS)])
    assert pool.candidates(9) == ["here"]


def test_memory_is_bounded_and_the_clicked_and_the_newest_are_kept() -> None:
    pool = pool_of(max_items=50, rows_an_impression=40)
    for batch in range(40):
        ads = ["hot", *(f"{batch}-{ad}" for ad in range(39))]
        pool.observe([shown(ads, batch), click("hot", batch), click(f"never-shown-{batch}", batch)])
        assert pool.num_items <= 2 * 50 + 40
    found = pool.candidates(100)
    assert {"hot", "39-38"} <= set(found)


@pytest.mark.parametrize("name", ["max_items", "rows_an_impression", "half_life_ms", "prior_shows"])
def test_figure_that_is_not_positive_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=name):
        PoolConfig(**{name: 0})

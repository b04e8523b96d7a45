"""Click rates per ad: the clicked rise, the old fade, memory stays bounded."""

from __future__ import annotations

import asyncio

import pytest

from serving.gateway.popularity import PopularityConfig, PopularityRanker
from serving.gateway.rankers import RankRequest
from streams.contract.errors import InputError
from streams.contract.events import Event, Feedback, Impression

HOUR_MS = 3_600_000


def shown(ads: list[str], at_ms: int = 0) -> Impression:
    """One impression."""
    return Impression(event_id="i", event_time_ms=at_ms, session_id="s", unit_id="u", ad_ids=ads)


def click(ad: str, at_ms: int = 0, kind: str = "click") -> Feedback:
    """One feedback."""
    return Feedback(event_id="f", event_time_ms=at_ms, session_id="s", impression_id="i", ad_id=ad, kind=kind)


def scores(ranker: PopularityRanker, ads: list[str]) -> list[float]:
    """The ranker's scores of the ads."""
    found: list[float] = asyncio.run(ranker.rank(RankRequest(unit_id="u", ad_ids=ads), 0.0)).scores.tolist()
    return found


def test_clicked_ad_ranks_above_shown_and_unknown_ones() -> None:
    ranker = PopularityRanker()
    events: list[Event] = [shown(["a", "b"]) for _ in range(100)]
    ranker.observe([*events, *[click("a")] * 30, *[click("b", kind="conversion")] * 90])
    a, unknown, b = scores(ranker, ["a", "c", "b"])
    assert a > unknown > b


def test_scores_are_the_posterior_mean_rate() -> None:
    ranker = PopularityRanker(PopularityConfig(prior_shows=10, prior_rate=0.1))
    ranker.observe([*[shown(["a"])] * 90, *[click("a")] * 9])
    rate = (9 + 10 * 0.1) / (90 + 10)
    assert scores(ranker, ["a", "b"]) == pytest.approx([(9 + 10 * rate) / 100, rate])


def test_click_fades_by_half_in_a_half_life() -> None:
    config = PopularityConfig(half_life_ms=HOUR_MS, prior_shows=1e-9, prior_rate=0.5)
    ranker = PopularityRanker(config)
    ranker.observe([shown(["a"]), click("a")])
    ranker.observe([shown(["a"], HOUR_MS)])
    assert scores(ranker, ["a"]) == pytest.approx([0.5 / 1.5])


def test_one_event_from_the_far_future_does_not_wipe_out_the_rest() -> None:
    ranker = PopularityRanker()
    ranker.observe([*[shown(["a", "b"])] * 100, *[click("a")] * 50])
    ranker.observe([click("b", 10**15)])
    ranker.observe([shown(["b"], HOUR_MS)])
    a, b = scores(ranker, ["a", "b"])
    assert a > b


def test_memory_is_bounded_and_the_most_shown_are_kept() -> None:
    ranker = PopularityRanker(PopularityConfig(max_ads=50))
    for batch in range(40):
        ranker.observe([shown(["hot", *(f"{batch}-{ad}" for ad in range(40))], batch)] * 2 + [click("hot", batch)])
    assert ranker.num_ads <= 50
    hot, cold = scores(ranker, ["hot", "0-1"])
    assert hot > cold


@pytest.mark.parametrize("name", ["half_life_ms", "max_ads", "prior_shows"])
def test_figure_that_is_not_positive_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=name):
        PopularityConfig(**{name: 0})

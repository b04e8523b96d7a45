"""The simulated ad market: its probabilities are true, its changes are where they are said to be."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import islice, pairwise

import numpy as np
import numpy.typing as npt
import pytest

from streams.contract.encoding import encode_event
from streams.contract.errors import InputError
from streams.contract.events import Event
from streams.datasets.observed import Observed
from streams.datasets.options import DatasetOptions
from streams.datasets.registry import open_dataset
from streams.simulator.config import MarketConfig
from streams.simulator.epochs import Simulation
from streams.simulator.market import probability
from streams.simulator.observations import observations
from streams.simulator.presets import PRESETS, market_preset

Floats = npt.NDArray[np.float64]


def encoded(observed: list[Observed]) -> list[bytes]:
    events: list[Event] = []
    for o in observed:
        events += [o.impression, *o.feedback]
    return [encode_event(event) for event in events]


def labels_and_truth(config: MarketConfig) -> tuple[Floats, Floats]:
    labels: list[float] = []
    truth: list[float] = []
    for observed in observations(config):
        clicked = {f.ad_id for f in observed.feedback if f.kind == "click"}
        labels += [float(ad in clicked) for ad in observed.impression.ad_ids]
        truth += observed.impression.true_probabilities or []
    return np.array(labels), np.array(truth)


def log_loss(labels: Floats, predicted: Floats) -> float:
    return float(-(labels * np.log(predicted) + (1 - labels) * np.log(1 - predicted)).mean())


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_same_seed_gives_the_same_events_and_another_seed_others(name: str) -> None:
    def first(seed: int, number: int) -> list[bytes]:
        return encoded(list(open_dataset(f"simulator:{name}", DatasetOptions(seed=seed, max_impressions=number))))

    assert first(1, 500) == first(1, 500)
    assert first(1, 500) != first(2, 500)


def test_fewer_impressions_are_the_beginning_of_more() -> None:
    fewer = list(observations(replace(market_preset("delayed"), num_impressions=300)))
    more = list(observations(replace(market_preset("delayed"), num_impressions=900)))
    assert encoded(fewer) == encoded(more[:300])


def test_impressions_come_by_time_with_ids_of_their_own_and_different_ads() -> None:
    observed = list(observations(replace(market_preset("sessions"), num_impressions=3_000)))
    assert all(a.impression.event_time_ms <= b.impression.event_time_ms for a, b in pairwise(observed))
    assert len({o.impression.event_id for o in observed}) == 3_000
    assert all(len(set(o.impression.ad_ids)) == len(o.impression.ad_ids) for o in observed)
    assert {len(o.impression.ad_ids) for o in observed} == {3, 4, 5, 6, 7}


def test_click_rate_is_the_mean_true_probability_and_near_what_the_config_says() -> None:
    config = market_preset("small")
    labels, truth = labels_and_truth(config)
    assert len(labels) == pytest.approx(5 * config.num_impressions, rel=0.02)
    standard_error = np.sqrt((truth * (1 - truth)).sum()) / len(truth)
    assert abs(labels.mean() - truth.mean()) < 4 * standard_error
    assert truth.mean() == pytest.approx(config.mean_ctr, abs=0.02)


def test_true_probabilities_are_calibrated_wherever_they_lie() -> None:
    labels, truth = labels_and_truth(replace(market_preset("drift"), num_impressions=20_000))
    for part in np.array_split(np.argsort(truth), 10):
        standard_error = np.sqrt((truth[part] * (1 - truth[part])).sum()) / len(part)
        assert abs(labels[part].mean() - truth[part].mean()) < 4 * standard_error


def test_truth_has_a_lower_log_loss_than_the_base_rate_and_than_itself_shifted() -> None:
    labels, truth = labels_and_truth(market_preset("small"))
    bayes = log_loss(labels, truth)
    assert bayes < 0.9 * log_loss(labels, np.full_like(truth, labels.mean()))
    odds = truth / (1 - truth)
    for factor in (0.8, 1.25):
        assert bayes < log_loss(labels, odds * factor / (1 + odds * factor))


def mean_logit_change(simulation: Simulation, epochs: int) -> dict[int, float]:
    """Start of each epoch -> mean absolute change of the logit of fixed pairs of users and ads since the one before."""
    rng = np.random.default_rng(0)
    users = rng.integers(0, simulation.config.num_users, 2_000)
    ads = rng.integers(0, simulation.config.num_ads, 2_000)
    zero = np.zeros(2_000, dtype=np.int64)
    changes: dict[int, float] = {}
    before: Floats | None = None
    for epoch in islice(simulation.epochs(), epochs):
        now = simulation.market.logits(simulation.audience, users, ads, zero, zero)
        if before is not None:
            changes[epoch.start_ms] = float(np.abs(now - before).mean())
        before = now
    return changes


def test_weights_jump_at_the_stated_times_and_only_drift_between() -> None:
    config = replace(market_preset("drift"), campaign_lifetime_minutes=1e9)
    changes = mean_logit_change(Simulation(config), 200)
    jumps = [changes.pop(time_ms) for time_ms in config.jump_times_ms]
    assert len(jumps) == 2
    assert min(jumps) > 5 * max(changes.values())
    assert min(changes.values()) > 0


def test_without_drift_and_jumps_nothing_changes_but_campaigns() -> None:
    config = replace(market_preset("small"), drift_per_hour=0.0, campaign_lifetime_minutes=1e9)
    assert max(mean_logit_change(Simulation(config), 20).values()) == pytest.approx(0.0, abs=1e-12)


def test_drift_keeps_the_click_rate_where_it_is() -> None:
    config = replace(market_preset("drift"), drift_per_hour=0.9)
    simulation = Simulation(config)
    rates = [float(e.true_probability.mean()) for e in islice(simulation.epochs(), 600)]
    assert np.mean(rates[-200:]) == pytest.approx(config.mean_ctr, abs=0.03)


def test_campaigns_end_and_new_ones_take_their_place() -> None:
    observed = list(observations(market_preset("small")))

    def campaigns(part: list[Observed]) -> set[object]:
        return {campaign for o in part for campaign in o.impression.candidates["campaign"]}

    first, last = campaigns(observed[:2_000]), campaigns(observed[-2_000:])
    assert first - last
    assert last - first
    assert len(last) < 2 * market_preset("small").num_campaigns


def test_history_holds_campaigns_that_were_clicked_before_and_heard_of() -> None:
    heard: dict[str, list[tuple[int, object]]] = {}
    histories = 0
    for o in observations(replace(market_preset("delayed"), num_impressions=5_000)):
        shown = o.impression
        history = shown.user["history"]
        assert isinstance(history, list)
        past = {campaign for time_ms, campaign in heard.get(shown.unit_id, []) if time_ms <= shown.event_time_ms}
        assert set(history) <= past
        histories += bool(history)
        of_ad = dict(zip(shown.ad_ids, shown.candidates["campaign"], strict=True))
        heard.setdefault(shown.unit_id, []).extend(
            (f.event_time_ms, of_ad[f.ad_id]) for f in o.feedback if f.kind == "click"
        )
    assert histories > 500


def test_segments_matter_with_campaigns_so_that_no_sum_of_both_explains_the_clicks() -> None:
    simulation = Simulation(market_preset("small"))
    weights = simulation.market._segment_weight
    without_main_effects = weights - weights.mean(axis=0) - weights.mean(axis=1, keepdims=True) + weights.mean()
    assert without_main_effects.std() > 0.8 * simulation.config.segment_scale


def test_lower_positions_are_clicked_less_where_there_is_position_bias() -> None:
    simulation = Simulation(market_preset("sessions"))
    zero = np.zeros(1, dtype=np.int64)
    at = [simulation.market.logits(simulation.audience, zero, zero, zero, zero + p)[0] for p in (0, 4)]
    assert at[1] - at[0] == pytest.approx(4 * simulation.config.position_bias)
    assert probability(np.array(at))[1] < probability(np.array(at))[0]


def test_conversions_follow_their_clicks_and_carry_a_value() -> None:
    config = market_preset("delayed")
    assert config.conversion is not None
    clicks = conversions = 0
    for o in observations(replace(config, num_impressions=5_000)):
        click_delay = {f.ad_id: f.delay_ms for f in o.feedback if f.kind == "click"}
        clicks += len(click_delay)
        for f in o.feedback:
            assert f.delay_ms is not None
            assert f.event_time_ms == o.impression.event_time_ms + f.delay_ms
            if f.kind == "conversion":
                conversions += 1
                earlier = click_delay[f.ad_id]
                assert earlier is not None
                assert f.delay_ms > earlier
                assert f.value > 0
    assert conversions / clicks == pytest.approx(config.conversion.share_of_clicks, abs=0.04)


def test_memory_does_not_grow_with_the_number_of_impressions() -> None:
    stream = observations(replace(market_preset("small"), num_impressions=15_000))
    tracemalloc.start()
    try:
        for _ in islice(stream, 3_000):
            pass
        tracemalloc.reset_peak()
        _, early_peak = tracemalloc.get_traced_memory()
        for _ in stream:
            pass
        _, late_peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert late_peak < early_peak + 4 * 2**20


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mean_ctr", 0.0),
        ("max_candidates", 101),
        ("min_candidates", 0),
        ("num_users", 0),
        ("impressions_per_session", 0.5),
        ("drift_per_hour", 1.0),
        ("jump_share", -0.1),
    ],
)
def test_config_that_cannot_be_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(InputError) as raised:
        replace(market_preset("small"), **{field: value})  # type: ignore[arg-type]
    assert raised.value.field is not None
    assert field.split("_")[-1] in raised.value.field

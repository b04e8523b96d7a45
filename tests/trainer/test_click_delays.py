"""The estimate of the click delay: right while clicks are still to come, of bounded size, the same after a restart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from streams.contract.columns import Array
from streams.contract.examples import ExampleBatch
from streams.simulator.delays import DelayConfig, draw_delays_ms
from tests.support.toy_examples import START_MS, toy_batch
from trainer.delayed.click_delays import EDGES_SECONDS, ClickDelays

MIXED = DelayConfig(fast_mean_seconds=10.0, slow_share=0.3, slow_median_seconds=1_800.0, slow_sigma=1.5)
RATE = 0.2


def emitted(config: DelayConfig, *, seconds: int, window_seconds: float, seed: int = 0) -> list[ExampleBatch]:
    """Ten impressions a second of one ad each, as the join emits them up to the end of `seconds`."""
    rng = np.random.default_rng(seed)
    number = 10 * seconds
    shown_ms = START_MS + 100 * np.arange(number, dtype=np.int64)
    delay_ms = np.where(rng.random(number) < RATE, draw_delays_ms(config, rng, number), -1)
    in_window = (delay_ms >= 0) & (delay_ms < 1000 * window_seconds)
    late = (delay_ms >= 0) & ~in_window
    closes_ms = shown_ms + int(1000 * window_seconds)
    end_ms = START_MS + 1000 * seconds
    batches = []
    heard_ms = np.concatenate([closes_ms, (shown_ms + delay_ms)[late]])
    row = np.concatenate([np.arange(number), np.flatnonzero(late)])
    correction = np.concatenate([np.zeros(number, dtype=np.bool_), np.ones(int(late.sum()), dtype=np.bool_)])
    order = np.argsort(heard_ms, kind="stable")
    order = order[heard_ms[order] <= end_ms]
    for part in np.array_split(order, max(1, len(order) // 500)):
        of, is_late = row[part], correction[part]
        label = np.where(is_late, True, in_window[of])
        batches.append(batch_of(shown_ms[of], label, np.where(label, delay_ms[of], -1), is_late))
    return batches


def batch_of(times_ms: Array, label: Array, delay_ms: Array, correction: Array) -> ExampleBatch:
    return toy_batch(
        len(times_ms), candidates=1, event_time_ms=times_ms, label=label.astype(np.float32),
        delay_ms=delay_ms.astype(np.int64), correction=correction,
    )  # fmt: skip


def learnt(batches: list[ExampleBatch]) -> ClickDelays:
    delays = ClickDelays()
    for batch in batches:
        delays.add(batch)
    return delays


def test_share_within_a_window_is_that_of_the_delays_drawn() -> None:
    delays = learnt(emitted(MIXED, seconds=14_400, window_seconds=60))
    horizon = delays.as_dict()["horizon_seconds"]
    assert horizon > 7_000
    of_all = 1 - MIXED.share_beyond(horizon)
    for seconds in (10, 60, 600, 3600):
        expected = (1 - MIXED.share_beyond(seconds)) / of_all
        assert delays.share_within(seconds) == pytest.approx(expected, abs=0.015)
    window = delays.window_for(0.9)
    assert (1 - MIXED.share_beyond(window)) / of_all == pytest.approx(0.9, abs=0.015)


def test_suggested_window_ends_where_doubling_it_would_catch_few_clicks_more() -> None:
    delays = learnt(emitted(MIXED, seconds=14_400, window_seconds=60))
    told = delays.as_dict()
    assert 20 <= told["suggested_window_seconds"] <= 64
    assert told["suggested_window_share"] == pytest.approx(0.72, abs=0.05)
    slow = DelayConfig(fast_mean_seconds=300.0, slow_share=0.0)
    assert 500 <= learnt(emitted(slow, seconds=7_200, window_seconds=60)).suggested_window() <= 1100


def test_clicks_still_to_come_do_not_make_delays_look_short() -> None:
    batches = emitted(MIXED, seconds=3_600, window_seconds=1)
    delays = learnt(batches)
    heard = np.concatenate([batch.delay_ms[batch.label > 0] for batch in batches])
    true = (1 - MIXED.share_beyond(600)) / (1 - MIXED.share_beyond(delays.as_dict()["horizon_seconds"]))
    counted = float((heard < 600_000).mean())
    assert abs(delays.share_within(600) - true) < 0.02 < abs(counted - true)


def test_hazard_of_exponential_delays_is_their_rate() -> None:
    exponential = DelayConfig(fast_mean_seconds=20.0, slow_share=0.0)
    hazard = learnt(emitted(exponential, seconds=3_600, window_seconds=5)).hazard()
    middle = (EDGES_SECONDS[:-1] > 2) & (EDGES_SECONDS[1:] < 46)
    assert hazard[middle] == pytest.approx(np.full(int(middle.sum()), 1 / 20), rel=0.2)


def test_delays_that_change_are_followed() -> None:
    delays = ClickDelays(half_life_ms=600_000)
    early, late = (DelayConfig(fast_mean_seconds=mean, slow_share=0.0) for mean in (5.0, 60.0))
    for batch in emitted(early, seconds=3_600, window_seconds=1):
        delays.add(batch)
    assert delays.share_within(20) > 0.95
    for batch in emitted(late, seconds=7_200, window_seconds=1, seed=1):
        delays.add(later(batch, 3_600_000))
    assert delays.share_within(20) == pytest.approx(1 - math.exp(-20 / 60), abs=0.05)


def later(batch: ExampleBatch, by_ms: int) -> ExampleBatch:
    index = batch.request_index
    return batch_of(batch.event_time_ms[index] + by_ms, batch.label, batch.delay_ms, batch.correction)


def test_memory_is_bounded_and_the_estimate_stays() -> None:
    delays = learnt(emitted(MIXED, seconds=20_000, window_seconds=60))
    assert sum(array.nbytes for array in delays.state().values()) < 100_000
    assert delays.share_within(60) == pytest.approx(0.72, abs=0.03)


def test_restored_estimate_goes_on_as_if_nothing_had_been() -> None:
    batches = emitted(MIXED, seconds=2_000, window_seconds=10)
    whole, first, second = learnt(batches), learnt(batches[:20]), ClickDelays()
    second.load_state(first.state())
    for batch in batches[20:]:
        second.add(batch)
    assert all(np.array_equal(second.state()[name], array) for name, array in whole.state().items())


def test_before_the_first_click_there_is_no_estimate() -> None:
    delays = ClickDelays()
    delays.add(toy_batch(10, label=np.zeros(40, dtype=np.float32)))
    assert delays.as_dict() == {}
    assert math.isnan(delays.share_within(1))
    assert math.isnan(delays.window_for(0.5))

"""The counts of many keys: exact at any moment of late, bounded in memory, the least of them evicted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.contract.counters import Counter
from streams.contract.errors import InputError
from streams.counters.keys import BatchKeys
from streams.counters.keyspace import Ints, KeySpace
from streams.counters.runs import Sums
from streams.counters.state import CounterState, Outcomes

LIVES = (2.0, 30.0)


def state_of(capacity: int = 100, **options: int) -> CounterState:
    counter = Counter(name="ad", key=("ad",), half_lives_seconds=LIVES, capacity=capacity, horizon_seconds=60)
    return CounterState([counter], **options)


def numbers(size: int) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return np.ones(size, dtype=np.int16)


def count(state: CounterState, ids: Ints, times_ms: Ints) -> BatchKeys:
    """Counts a show of each id, every third an outcome; returns what was evicted."""
    slots, evicted = state.admit(numbers(len(ids)), ids)
    state.add(Outcomes(slots, times_ms, np.ones(len(ids)), (ids % 3 == 0).astype(np.float64)))
    return evicted


def read(state: CounterState, ids: Ints, at_ms: int) -> Sums:
    sums: Sums = state.read(state.keys.lookup(numbers(len(ids)), ids), np.full(len(ids), at_ms))
    return sums


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(0, 90_000))
def test_read_at_any_moment_is_the_decayed_sum_of_what_was_settled_before(seed: int, num: int, ago_ms: int) -> None:
    rng = np.random.default_rng(seed)
    state, ids, times = state_of(), [], []
    for n in range(num):
        ids.append(rng.integers(0, 8, 20))
        times.append(1000 * n + rng.integers(0, 8000, 20))
        count(state, ids[-1], times[-1])
    all_ids, all_times = np.concatenate(ids), np.concatenate(times)
    at_ms = max(0, state.clock_ms + 10 - ago_ms)
    wanted = np.arange(8)
    sums = read(state, wanted, at_ms)
    if not state.reaches(np.array([at_ms])).all():
        assert at_ms <= state.clock_ms - state.horizon_ms
        return
    for each in wanted:
        past = at_ms - all_times[(all_ids == each) & (all_times < at_ms)]
        for place, life in enumerate(LIVES):
            shows = (0.5 ** (past / 1000 / life)).sum()
            assert sums[each, place, 0] == pytest.approx(shows, rel=1e-9, abs=1e-12)
            assert sums[each, place, 1] == pytest.approx(shows if each % 3 == 0 else 0.0, rel=1e-9, abs=1e-12)


def test_totals_are_what_is_read_behind_the_newest_outcome() -> None:
    rng = np.random.default_rng(0)
    state = state_of()
    for n in range(200):
        count(state, rng.integers(0, 50, 30), 1000 * n + rng.integers(0, 1000, 30))
    slots = state.keys.held
    at_ms = np.full(len(slots), state.clock_ms + 1)
    np.testing.assert_allclose(state.totals(slots), state.read(slots, at_ms), rtol=1e-12)


def test_memory_is_bounded_and_the_keys_of_least_weight_go() -> None:
    state = state_of(capacity=64)
    evicted, largest = 0, 0
    for n in range(1500):
        new = np.arange(4 * n, 4 * n + 4) + 1000
        favourites = np.arange(8)
        evicted += len(count(state, np.concatenate([favourites, new]), np.full(12, 1000 * n)))
        largest = max(largest, state.num_bytes)
        assert len(state.keys) <= 65
    assert evicted > 1000
    # A minute of outcomes lies in the runs, so its keys have priority; what was dropped is counted.
    assert state.num_dropped > 0
    assert (read(state, np.arange(8), state.clock_ms + 1)[:, 1, 0] > 10).all()
    assert largest < 200_000


def test_runs_hold_no_more_than_they_may_and_say_how_far_back_they_reach() -> None:
    state = state_of(max_entries=500)
    for n in range(100):
        count(state, np.arange(50), np.full(50, 10 * n))
        assert state.num_entries <= 500
    assert not state.reaches(np.array([0]))[0]
    assert state.reaches(np.array([state.clock_ms + 1]))[0]
    assert read(state, np.array([1]), state.clock_ms + 1)[0, 1, 0] == pytest.approx(100, rel=0.02)


def test_evicted_key_that_comes_back_begins_anew() -> None:
    state = state_of(capacity=4)
    first = np.arange(1, 5)
    count(state, first, np.zeros(4, dtype=np.int64))
    gone = count(state, np.array([100]), np.array([200_000]))
    assert len(gone) == 0  # what came a moment ago lies in a run until it is folded
    gone = count(state, np.array([101]), np.array([400_000]))
    assert len(gone) == 1
    back = np.setdiff1d(first, state.keys.keys_at(state.keys.held)[1])[:1]
    assert len(back) == 1
    count(state, back, np.array([800_000]))
    assert read(state, back, 800_001)[0, 1, 0] == pytest.approx(1.0, rel=1e-4)


def test_slots_are_given_lowest_first_and_given_again() -> None:
    keys = KeySpace(3)
    assert keys.admit(numbers(2), np.array([5, 6])).tolist() == [0, 1]
    keys.remove(np.array([0]))
    assert keys.lookup(numbers(2), np.array([5, 6])).tolist() == [-1, 1]
    assert keys.admit(numbers(3), np.array([7, 8, 9])).tolist() == [0, 2, -1]
    again = KeySpace(3)
    again.load_state(keys.state())
    assert again.lookup(numbers(4), np.array([6, 7, 8, 9])).tolist() == [1, 0, 2, -1]


def test_partitions_that_lie_apart_are_counted_exactly_whichever_comes_behind() -> None:
    rng = np.random.default_rng(3)
    state, ids, times = state_of(), [], []
    for n in range(80):
        apart_ms = 20_000 if n >= 40 else 500
        behind_ms = apart_ms * (n % 2)
        ids.append(rng.integers(0, 8, 20))
        times.append(1000 * n + 30_000 - behind_ms + np.sort(rng.integers(0, 1000, 20)))
        count(state, ids[-1], times[-1])
    assert state.num_stragglers > 0
    all_ids, all_times = np.concatenate(ids), np.concatenate(times)
    for ago_ms in (0, 700, 15_000, 45_000):
        at_ms = state.clock_ms + 1 - ago_ms
        sums = read(state, np.arange(8), at_ms)
        for each in range(8):
            past = at_ms - all_times[(all_ids == each) & (all_times < at_ms)]
            for place, life in enumerate(LIVES):
                assert sums[each, place, 0] == pytest.approx((0.5 ** (past / 1000 / life)).sum(), rel=1e-12)


def test_stream_in_order_has_no_stragglers() -> None:
    state = state_of()
    for n in range(50):
        count(state, np.arange(8), 1000 * n + 125 * np.arange(8))
    assert state.num_stragglers == 0


def test_counts_of_an_earlier_version_are_refused_with_the_remedy() -> None:
    old = {name: array for name, array in state_of().state().items() if not name.startswith("ledger.")}
    with pytest.raises(InputError, match="earlier version"):
        state_of().load_state(old)


def test_state_with_stragglers_is_resumed_bit_identically() -> None:
    rng = np.random.default_rng(4)
    batches = [(rng.integers(0, 30, 20), 1000 * n + 60_000 - 20_000 * (n % 2) * (n >= 40)) for n in range(160)]
    through, resumed, most = state_of(capacity=20), state_of(capacity=20), 0
    for n, (ids, begin_ms) in enumerate(batches):
        times = begin_ms + np.arange(20)
        count(through, ids, times)
        count(resumed, ids, times)
        most = max(most, through.num_stragglers)
        if n % 23 == 22:
            again = state_of(capacity=20)
            again.load_state({name: array.copy() for name, array in resumed.state().items()})
            resumed = again
    assert most > 0
    for name, array in through.state().items():
        np.testing.assert_array_equal(array, resumed.state()[name], err_msg=name)

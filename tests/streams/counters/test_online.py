"""Counters of a stream of examples: what each sees is what was settled before its own time, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.contract.columns import Array, to_values
from streams.contract.errors import InputError
from streams.contract.examples import ExampleBatch, concat_batches
from streams.contract.features import FeatureBatch, FeatureTransform
from streams.contract.schema import Schema
from streams.counters.online import OnlineCounters
from tests.support.counted import COUNTERS, counted_schema, random_batches, settled, sums_by_hand
from tests.support.toy_examples import toy_batch

SCHEMA = counted_schema()


def features_of(batch: ExampleBatch, schema: Schema = SCHEMA) -> FeatureBatch:
    return FeatureTransform(schema)(
        batch.request, batch.candidate, batch.request_index, num_requests=batch.num_requests
    )


def fill(
    batches: Sequence[ExampleBatch], counters: OnlineCounters | None = None
) -> list[tuple[ExampleBatch, FeatureBatch]]:
    counters = counters or OnlineCounters(SCHEMA, kind="click")
    return [counters.take(batch, features_of(batch)) for batch in batches]


def values(filled: Sequence[tuple[ExampleBatch, FeatureBatch]]) -> list[Array]:
    return [side.dense for _, features in filled for side in (features.request, features.candidate)]


def expected(batches: Sequence[ExampleBatch], at: tuple[ExampleBatch, int]) -> dict[str, float]:
    """Every counter of one example, from the definition. It may see what comes in its own batch, not in later ones."""
    found = {}
    priors = {}
    for life in (10.0, 100.0):
        shows, outcomes = sums_by_hand(batches, [], at, life)
        priors[life] = (outcomes + 1) / (shows + 20)
        found[f"everything.prior.{life:g}"] = math.log(20 * priors[life])
    for counter in SCHEMA.counters:
        for life in counter.half_lives_seconds:
            shows, outcomes = sums_by_hand(batches, counter.key, at, life)
            rate = (outcomes + counter.smoothing * priors[life]) / (shows + counter.smoothing)
            found[f"{counter.name}.shows.{life:g}"] = math.log1p(shows) / 10
            found[f"{counter.name}.outcomes.{life:g}"] = math.log1p(outcomes) / 10
            found[f"{counter.name}.lift.{life:g}"] = math.log(rate / priors[life])
    return found


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_every_value_is_what_the_definition_gives_on_random_streams(seed: int, number: int) -> None:
    batches = random_batches(number, seed)
    for place, (batch, _) in enumerate(fill(batches)):
        for row in range(0, len(batch), 7):
            for name, value in expected(batches[: place + 1], (batches[place], row)).items():
                if name in batch.request:
                    got = to_values(batch.request[name])[batch.request_index[row]]
                else:
                    got = to_values(batch.candidate[name])[row]
                assert got == pytest.approx(value, abs=1e-5), name


def test_values_do_not_depend_on_where_batches_end() -> None:
    whole = concat_batches(random_batches(12, seed=3))
    one, many = OnlineCounters(SCHEMA, kind="click"), OnlineCounters(SCHEMA, kind="click")
    fill([whole], one)
    fill([whole.slice(at, at + 50) for at in range(0, len(whole), 50)], many)
    (_, a), (_, b) = (counters.look(whole, features_of(whole)) for counters in (one, many))
    np.testing.assert_allclose(a.request.dense, b.request.dense, atol=1e-6)
    np.testing.assert_allclose(a.candidate.dense, b.candidate.dense, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 9), st.integers(0, 31))
def test_other_label_changes_no_value_of_its_own_example_nor_of_an_earlier_one(seed: int, place: int, row: int) -> None:
    batches = random_batches(10, seed)
    poisoned = list(batches)
    label = batches[place].label.copy()
    label[row] = 1 - label[row]
    poisoned[place] = replace(batches[place], label=label)
    decided_ms = batches[place].decided_time_ms[row]
    clean, dirty = fill(batches), fill(poisoned)
    for (batch, one), (_, other) in zip(clean, dirty, strict=True):
        before = batch.event_time_ms <= decided_ms
        np.testing.assert_array_equal(one.request.dense[before], other.request.dense[before])
        rows = before[batch.request_index]
        np.testing.assert_array_equal(one.candidate.dense[rows], other.candidate.dense[rows])


def test_outcome_counts_from_the_millisecond_after_it_was_decided_on() -> None:
    counters = OnlineCounters(SCHEMA, kind="click")
    first = settled(toy_batch(1, candidates=1), [1000])
    counters.take(first, features_of(first))
    for later_ms, seen in ((0, 0.0), (1000, 0.0), (1001, 1.0)):
        asked = replace(first, event_time_ms=first.event_time_ms + later_ms)
        batch, _ = counters.look(asked, features_of(asked))
        assert to_values(batch.candidate["ad.shows.100"])[0] == pytest.approx(
            math.log1p(seen * 0.5**1e-5) / 10, abs=1e-6
        )


def test_resumed_counters_go_on_bit_identically() -> None:
    batches = random_batches(60, seed=5)
    through, resumed = OnlineCounters(SCHEMA, kind="click"), OnlineCounters(SCHEMA, kind="click")
    first = OnlineCounters(SCHEMA, kind="click")
    expect = fill(batches, through)[37:]
    fill(batches[:37], first)
    resumed.load_tensors({name: tensor.copy() for name, tensor in first.tensors().items()})
    got = fill(batches[37:], resumed)
    for one, other in zip(values(expect), values(got), strict=True):
        np.testing.assert_array_equal(one, other)
    for name, tensor in through.tensors().items():
        np.testing.assert_array_equal(tensor, resumed.tensors()[name], err_msg=name)


def test_columns_that_were_filled_in_transform_to_the_same_features() -> None:
    for batch, features in fill(random_batches(5, seed=1)):
        again = features_of(batch)
        np.testing.assert_array_equal(again.request.dense, features.request.dense)
        np.testing.assert_array_equal(again.candidate.dense, features.candidate.dense)


def test_correction_beyond_the_horizon_is_counted_and_weighs_nothing() -> None:
    counters = OnlineCounters(SCHEMA, kind="click")
    fill(random_batches(200, seed=2), counters)
    late = replace(toy_batch(1, candidates=2), correction=np.array([True, True]), label=np.ones(2, dtype=np.float32))
    late = replace(late, decided_time_ms=np.full(2, counters.state.clock_ms))
    batch, _ = counters.take(late, features_of(late))
    assert batch.weight.tolist() == [0.0, 0.0]
    assert counters.num_too_late == 2


def test_horizon_shorter_than_labels_take_is_refused_with_the_remedy() -> None:
    counters = OnlineCounters(SCHEMA, kind="click")
    fill(random_batches(200, seed=2), counters)
    late = replace(toy_batch(1), decided_time_ms=np.full(4, counters.state.clock_ms))
    with pytest.raises(InputError, match="raise it above the join's longest wait"):
        counters.take(late, features_of(late))


def test_records_that_do_not_say_when_they_were_decided_on_are_not_counted() -> None:
    counters = OnlineCounters(SCHEMA, kind="click")
    batch = replace(toy_batch(4), decided_time_ms=np.full(16, -1))
    counters.take(batch, features_of(batch))
    assert counters.num_undated == 16
    assert counters.state.num_entries == 0


def test_counter_of_another_kind_than_the_recipe_learns_is_refused() -> None:
    with pytest.raises(InputError, match=r"ad\.outcome"):
        OnlineCounters(counted_schema(COUNTERS.replace('key = ["ad"]', 'key = ["ad"]\noutcome = "buy"')
                                      .replace('key = ["user"]', 'key = ["user"]\noutcome = "buy"')
                                      .replace('key = ["user", "ad"]', 'key = ["user", "ad"]\noutcome = "buy"')),
                       kind="click")  # fmt: skip

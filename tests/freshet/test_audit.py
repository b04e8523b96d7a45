"""The account of a run against logs whose contents are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freshet.audit import ExampleAccount, count_examples, example_batches, freshness_seconds, model_updates
from streams.contract.examples import ExampleBatch, Mark
from streams.contract.manifest import Manifest, ModelUpdate, encode_update
from streams.log.event_log import EXAMPLES, MODEL_UPDATES, Append, EventLog, open_log
from tests.support.toy_examples import append_all, toy_batch


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    log = open_log(f"embedded:{tmp_path}")
    log.create_topic(EXAMPLES, 2)
    log.create_topic(MODEL_UPDATES, 1)
    yield log
    log.close()


def update(version: int, **changes: Any) -> ModelUpdate:
    fields = {"model": "ads", "parent": version - 1, "generation": 1, "feature_hash": "h", **changes}
    return ModelUpdate(Manifest(version=version, **fields), {"weight": np.zeros(300_000, dtype=np.float32)})


def examples(num_requests: int, **changes: Any) -> ExampleBatch:
    """Requests with four ads each, all different."""
    ads = [f"a{number}" for number in range(4 * num_requests)]
    return toy_batch(num_requests, ad_id=ads, **changes)


def test_examples_of_all_partitions_are_counted_once(log: EventLog) -> None:
    first, second = log.partitions(EXAMPLES)
    append_all(log, first, [examples(5), Mark(), examples(5, start=5)])
    append_all(log, second, [examples(3, seed=1), Mark(final=True)])
    assert count_examples(log) == ExampleAccount(distinct=52, duplicates=0, corrections=0)
    assert sum(map(len, example_batches(log))) == 52


def test_examples_that_stand_twice_are_duplicates_even_across_partitions(log: EventLog) -> None:
    first, second = log.partitions(EXAMPLES)
    append_all(log, first, [examples(5), examples(2)])
    append_all(log, second, [examples(1)])
    assert count_examples(log) == ExampleAccount(distinct=20, duplicates=12, corrections=0)


def test_ad_shown_twice_in_one_impression_is_two_examples_and_its_repetition_two_duplicates(log: EventLog) -> None:
    twice = toy_batch(1, ad_id=["a", "b", "a", "c"], position=np.arange(4, dtype=np.int32))
    append_all(log, log.partitions(EXAMPLES)[0], [twice])
    assert count_examples(log) == ExampleAccount(distinct=4, duplicates=0, corrections=0)
    append_all(log, log.partitions(EXAMPLES)[1], [twice])
    assert count_examples(log) == ExampleAccount(distinct=4, duplicates=4, corrections=0)


def test_same_candidate_of_another_kind_is_no_duplicate(log: EventLog) -> None:
    append_all(log, log.partitions(EXAMPLES)[0], [examples(2), examples(2, kind="purchase")])
    assert count_examples(log) == ExampleAccount(distinct=16, duplicates=0, corrections=0)


def test_corrections_stand_beside(log: EventLog) -> None:
    batch = examples(2)
    corrected = replace(batch, correction=np.ones(len(batch), dtype=np.bool_))
    append_all(log, log.partitions(EXAMPLES)[0], [batch, corrected])
    assert count_examples(log) == ExampleAccount(distinct=8, duplicates=0, corrections=8)


def test_versions_of_several_records_come_whole_and_in_order(log: EventLog) -> None:
    [partition] = log.partitions(MODEL_UPDATES)
    for version in (1, 2, 3):
        records = encode_update(update(version))
        assert len(records) > 1
        log.append([Append(partition, record) for record in records])
    found = list(model_updates(log))
    assert [each.manifest.version for each in found] == [1, 2, 3]
    assert len(found[0].dense["weight"]) == 300_000


def test_freshness_is_from_label_to_first_version_that_serves_it() -> None:
    updates = [update(1, examples=100, ingest_quantiles_ms=[1000] * 101),
               update(2, examples=150, ingest_quantiles_ms=[2000] * 101)]  # fmt: skip
    served = freshness_seconds(updates, {0: 900, 1: 1500, 2: 5000})
    assert served == {"p50": 0.5, "p99": 3.0, "start": 0.0}


def test_freshness_of_version_that_was_skipped_is_that_of_the_next_one_served() -> None:
    updates = [update(1, examples=100, ingest_quantiles_ms=[1000] * 101), update(2, examples=100)]
    assert freshness_seconds(updates, {0: 500, 2: 4000, 3: 9000}) == {"p50": 3.0, "p99": 3.0, "start": 0.0}


def test_freshness_leaves_out_what_settled_before_anything_served_and_tells_how_long_that_took() -> None:
    updates = [update(1, examples=100, ingest_quantiles_ms=[1000] * 101),
               update(2, examples=200, ingest_quantiles_ms=[4000] * 101)]  # fmt: skip
    assert freshness_seconds(updates, {1: 3000, 2: 4500}) == {"p50": 0.5, "p99": 0.5, "start": 2.0}


def test_freshness_weighs_versions_by_their_examples() -> None:
    updates = [update(1, examples=990, ingest_quantiles_ms=[0] * 101),
               update(2, examples=1000, ingest_quantiles_ms=[0] * 101)]  # fmt: skip
    assert freshness_seconds(updates, {0: 0, 1: 1000, 2: 60_000})["p50"] == 1.0


def test_freshness_of_what_was_never_served_is_not_a_number() -> None:
    never_served = freshness_seconds([update(1, examples=9, ingest_quantiles_ms=[5] * 101)], {})
    for found in (never_served, freshness_seconds([], {1: 5})):
        assert isnan(found["p50"])
        assert isnan(found["p99"])

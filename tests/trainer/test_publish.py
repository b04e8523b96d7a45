"""Publishing on a real log and a real store: versions, refusals, generations, back-pressure."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from streams.contract.schema import schema_to_json
from streams.log.event_log import EventLog
from streams.store.row_store import RowStore
from streams.versions.bundle_index import BundleConfig
from streams.versions.commit import Committer
from streams.versions.delta import Publisher
from streams.versions.publish import PublishConfig
from streams.versions.retention import RetentionConfig
from tests.support.deltas import delta, window
from tests.support.generations import SCHEMA, ids, rows
from tests.support.publishers import (
    AD,
    CAMPAIGN,
    Open,
    check_store,
    first,
    publish,
    stored_rows,
    target,
    updates,
)
from tests.support.valkey import wait_until
from trainer.gate import GateConfig


def test_first_version_makes_a_live_generation_with_rows_bundles_dense_and_programs(
    open_publisher: Open, store: RowStore, updates_log: EventLog
) -> None:
    publisher = open_publisher()
    assert isinstance(publisher, Publisher)
    assert publisher.wants_full()
    assert publisher.last_step() == -1
    publish(publisher, first(step=5))
    assert (store.live(), publisher.last_step(), publisher.wants_full()) == (1, 5, False)
    head = store.head(1)
    assert head is not None
    assert (head.version, head.parent, head.step, head.num_rows) == (1, 0, 5, 5)
    assert head.metrics == {"auc": 0.7}
    assert head.gate["passed"] is True
    assert store.dense(1)[0] == 1
    assert store.programs(1) == {"request": b"R", "candidate": b"C"}
    assert store.generation(1).schema == schema_to_json(SCHEMA)
    found = store.fetch_ads(1, np.array([[1, 7, 9], [3, 8, 9], [4, 4, 4]])).found
    assert found.tolist() == [True, True, False]
    assert [update.manifest.version for update in updates(updates_log)] == [1]
    check_store(updates_log, store, 1)


def test_later_versions_change_rows_drop_evicted_ones_and_rewrite_their_bundles(
    open_publisher: Open, store: RowStore, updates_log: EventLog
) -> None:
    publisher = open_publisher()
    publish(publisher, first())
    publish(publisher, delta(2, rows={"ad": rows([2], 5.0)}, tombstones={"ad": ids(1), "campaign": ids(8)}))
    publish(publisher, delta(3, rows={"ad": rows([1], 6.0)}, ads=[(4, 8, 9)]))
    fetched = store.fetch_rows(1, {AD: ids(1, 2, 3), CAMPAIGN: ids(8)})
    assert fetched.versions.tolist() == [3, 2, 1, 2]
    assert fetched.found.tolist() == [True, True, True, False]
    bundles = store.fetch_ads(1, np.array([[1, 7, 9], [3, 8, 9], [4, 8, 9]])).bundles
    assert bundles.versions.tolist() == [3, 2, 3]
    assert bundles.absent.tolist() == [[False, False, True], [False, True, True], [True, True, True]]
    check_store(updates_log, store, 1)


@pytest.mark.parametrize("encoding", ["fp16", "int8"])
def test_quantised_rows_are_the_same_numbers_in_log_and_store(
    open_publisher: Open, store: RowStore, updates_log: EventLog, encoding: str
) -> None:
    publisher = open_publisher(row_encoding=encoding)
    publish(publisher, first(rows={"ad": rows(list(range(500)))}))
    check_store(updates_log, store, 1)
    publisher.close()
    again = Committer(target(updates_log, store, row_encoding=encoding))
    again.recover()
    again.write(updates(updates_log)[0])
    check_store(updates_log, store, 1)


def test_refused_delta_is_reported_everywhere_and_changes_nothing(
    open_publisher: Open, store: RowStore, updates_log: EventLog
) -> None:
    publisher = open_publisher()
    publish(publisher, first())
    assert not publisher.offer(delta(2, rows={"ad": rows([1], np.nan)}))
    assert publisher.wait_until_idle(60)
    assert publisher.status().refused == {"non_finite": 1}
    assert publisher.status().num_published == 1
    refusal = store.refused()[0]
    assert (refusal["step"], refusal["reasons"][0]["code"]) == (2, "non_finite")
    assert len(updates(updates_log)) == 1
    publish(publisher, delta(3, rows={"ad": rows([1], 3.0)}))


def test_gate_scale_survives_a_restart(open_publisher: Open) -> None:
    publish(open_publisher(), first())
    publisher = open_publisher()
    assert not publisher.offer(delta(2, rows={"ad": rows([1], 1e4)}))
    assert publisher.status().refused == {"row_norm": 1}


def test_restarted_publisher_continues_generation_and_versions_and_refuses_steps_already_published(
    open_publisher: Open, store: RowStore, updates_log: EventLog
) -> None:
    publish(open_publisher(), first(step=10))
    publisher = open_publisher()
    assert (publisher.last_step(), publisher.wants_full()) == (10, False)
    assert not publisher.offer(delta(10))
    publish(publisher, delta(11, rows={"campaign": rows([7], 4.0)}))
    assert [update.manifest.version for update in updates(updates_log)] == [1, 2]
    assert store.fetch_ads(1, np.array([[1, 7, 9]])).bundles.versions.tolist() == [2]
    check_store(updates_log, store, 1)


@pytest.mark.parametrize(
    "change", [{"recipe": "other"}, {"network": {"kind": "other"}}, {"row_encoding": "fp16"}, {"new_generation": True}]
)
def test_changed_model_starts_a_generation_that_is_not_live(
    open_publisher: Open, store: RowStore, updates_log: EventLog, change: dict[str, Any]
) -> None:
    publish(open_publisher(), first(step=10))
    publisher = open_publisher(**change)
    assert publisher.wants_full()
    assert not publisher.offer(delta(11))
    publish(publisher, first(step=3, rows={"ad": rows([5], 0.5)}))
    assert (store.live(), store.generations()) == (1, [1, 2])
    assert [(u.manifest.generation, u.manifest.version) for u in updates(updates_log)] == [(1, 1), (2, 2)]
    assert set(stored_rows(store, 2)) == {(AD, 5)}
    check_store(updates_log, store, 2)


def test_new_generation_becomes_live_where_asked(open_publisher: Open, store: RowStore) -> None:
    publish(open_publisher(), first())
    publish(open_publisher(new_generation=True, promote=True), first())
    assert store.live() == 2


def test_rolled_back_generation_goes_on_growing_and_comes_back_by_promotion(
    open_publisher: Open, store: RowStore
) -> None:
    publish(open_publisher(), first())
    publisher = open_publisher(new_generation=True, promote=True)
    publish(publisher, first())
    store.rollback()
    publish(publisher, delta(2, rows={"ad": rows([1], 4.0)}))
    assert store.live() == 1
    head = store.head(2)
    assert head is not None
    assert head.version == 3
    store.promote(2)
    assert store.live() == 2


def test_full_delta_within_a_generation_starts_the_next_one_in_its_place(open_publisher: Open, store: RowStore) -> None:
    publisher = open_publisher()
    publish(publisher, first())
    publish(publisher, first(step=2, rows={"ad": rows([1], 4.0)}))
    assert store.live() == 2
    assert set(stored_rows(store, 2)) == {(AD, 1)}


def test_interval_passes_between_two_deltas(open_publisher: Open) -> None:
    publisher = open_publisher(PublishConfig(interval_seconds=3600.0))
    publish(publisher, first())
    assert not publisher.due()


def test_old_generations_are_collected_and_the_live_one_stays(open_publisher: Open, store: RowStore) -> None:
    retention = RetentionConfig(num_generations=2, grace_seconds=0.0)
    for _ in range(4):
        time.sleep(0.002)
        config = PublishConfig(interval_seconds=0.0, upkeep_seconds=0.0, retention=retention)
        publish(open_publisher(config, new_generation=True), first())
    open_publisher(PublishConfig(upkeep_seconds=0.05, retention=retention))
    wait_until(lambda: store.generations() == [1, 3, 4], "generations were not collected")
    assert store.live() == 1


def test_gate_config_is_used(open_publisher: Open) -> None:
    publisher = open_publisher(PublishConfig(interval_seconds=0.0), GateConfig(min_examples=5000))
    assert not publisher.offer(first(scores=window(4000)))
    assert publisher.status().refused == {"too_few_examples": 1}


def test_first_version_that_was_refused_is_wanted_again_before_the_interval_has_passed(open_publisher: Open) -> None:
    publisher = open_publisher(PublishConfig(interval_seconds=3600), GateConfig(min_examples=500))
    assert not publisher.offer(first(scores=window(400)))
    wait_until(publisher.due, "the publisher wants no other delta")
    assert publisher.offer(first(step=6, scores=window(500)))
    assert publisher.wait_until_idle(60)
    assert not publisher.due()


def test_ads_beyond_the_capacity_have_no_bundle_and_single_rows_remain(open_publisher: Open, store: RowStore) -> None:
    publisher = open_publisher(bundles=BundleConfig(capacity=2))
    publish(publisher, first(ads=[(1, 7, 9), (2, 7, 9)]))
    publish(publisher, delta(2, ads=[(3, 8, 9)]))
    assert sum(len(bundles.ids) for bundles in store.rows(1).scan_ads()) == 2
    assert store.fetch_rows(1, {AD: ids(1, 2, 3)}).found.all()

"""Publishing on a real log and a real store: order, crashes, back-pressure, generations."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from streams.contract.errors import ConflictError
from streams.contract.manifest import Manifest, ModelUpdate, assemble
from streams.contract.schema import schema_to_json
from streams.log.event_log import MODEL_UPDATES, EventLog, TopicPartition, open_log
from streams.store.redis_client import RedisConfig
from streams.store.row_store import RowStore, open_row_store
from streams.versions.bundle_index import BundleConfig
from streams.versions.commit import Committer, PublishTarget
from streams.versions.delta import Delta, Publisher
from streams.versions.publish import PublishConfig, ThreadedPublisher
from streams.versions.retention import RetentionConfig
from tests.support.deltas import delta, window
from tests.support.generations import SCHEMA, ids, manifest, rows
from tests.support.kafka_server import KafkaServer
from tests.support.valkey import ValkeyServer, valkey_server, wait_until
from trainer.gate import GateConfig, gate

UPDATES = TopicPartition(MODEL_UPDATES, 0)
AD, CAMPAIGN = 1, 2
QUICK = PublishConfig(interval_seconds=0.0, first_pause_seconds=0.01, longest_pause_seconds=0.05)
Open = Callable[..., ThreadedPublisher]


@pytest.fixture
def updates_log(tmp_path: Path) -> Iterator[EventLog]:
    """An embedded log of its own."""
    log = open_log(f"embedded:{tmp_path / 'log'}")
    yield log
    log.close()


@pytest.fixture
def open_publisher(updates_log: EventLog, store: RowStore) -> Iterator[Open]:
    """Opens publishers on log and store, by default on the same model."""
    opened: list[ThreadedPublisher] = []

    def open_it(config: PublishConfig = QUICK, bounds: GateConfig | None = None, **fields: Any) -> ThreadedPublisher:
        opened.append(ThreadedPublisher(target(**{"log": updates_log, "store": store, **fields}), gate(bounds), config))
        assert opened[-1].wait_until_idle(20)
        return opened[-1]

    yield open_it
    for publisher in opened:
        publisher.close(0)


def target(log: EventLog, store: RowStore, **fields: Any) -> PublishTarget:
    """The small model."""
    return PublishTarget(**{"log": log, "store": store, "schema": SCHEMA, "network": {"kind": "test", "units": (4, 1)},
                            "programs": {"request": b"R", "candidate": b"C"}, **fields})  # fmt: skip


def publish(publisher: Publisher, candidate: Delta) -> None:
    """Offers the delta and waits until it is committed."""
    assert isinstance(publisher, ThreadedPublisher)
    assert publisher.offer(candidate), publisher.status()
    assert publisher.wait_until_idle(20), publisher.status()


def first(step: int = 1, **fields: Any) -> Delta:
    """A whole snapshot of three ads in two campaigns."""
    content: dict[str, Any] = {
        "rows": {"ad": rows([1, 2, 3], 1.0), "campaign": rows([7, 8], 2.0)},
        "ads": [(1, 7, 9), (2, 7, 9), (3, 8, 9)],
        "full": True,
    }
    return delta(step, **{**content, **fields})


def updates(log: EventLog, model: str = "ads") -> list[ModelUpdate]:
    """All versions of the model in the log."""
    begin = log.begin_offsets([UPDATES])
    found = assemble(record.value for record in log.read(begin, max_records=10_000))
    return [update for update in found if update.manifest.model == model]


def stored_rows(store: RowStore, number: int) -> dict[tuple[int, int], tuple[float, ...]]:
    """(table number, id) -> row."""
    return {
        (int(table), int(id_)): tuple(map(float, value))
        for part in store.scan_rows(number)
        for table, id_, value, found in zip(part.tables, part.ids, part.rows.values, part.rows.found, strict=True)
        if found
    }


def replayed_rows(log: EventLog, model: str, number: int) -> dict[tuple[int, int], tuple[float, ...]]:
    """What the log alone says the rows are."""
    state: dict[tuple[int, int], tuple[float, ...]] = {}
    names = list(SCHEMA.tables)
    for update in updates(log, model):
        if update.manifest.generation == number:
            for table, changed in update.rows.items():
                for id_, value in zip(changed.ids.tolist(), changed.values.tolist(), strict=True):
                    state[names.index(table), id_] = tuple(value)
            for table, gone in update.tombstones.items():
                for id_ in gone.tolist():
                    state.pop((names.index(table), id_), None)
    return state


def check_store(log: EventLog, store: RowStore, number: int) -> None:
    """The store is the view of the log, and every bundle says what the rows say."""
    stored = stored_rows(store, number)
    assert stored == replayed_rows(log, store.model, number)
    tables = store.rows(number).layout.tables.tolist()
    for bundles in store.rows(number).scan_ads():
        for tuple_, included, absent, values in zip(
            bundles.ids.tolist(), bundles.included, bundles.absent, bundles.rows, strict=True
        ):
            for f, key in enumerate(zip(tables, tuple_, strict=True)):
                if included[f]:
                    assert stored[key] == tuple(map(float, values[f]))
                assert not (absent[f] and key in stored)


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
    assert publisher.wait_until_idle(20)
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


@pytest.mark.parametrize("lost", ["everything", "head", "live"])
def test_crash_between_log_and_store_is_made_good_at_the_next_start(
    open_publisher: Open, store: RowStore, updates_log: EventLog, lost: str
) -> None:
    crashed = Committer(target(updates_log, store))
    crashed.recover()
    assert crashed.generation is not None
    crashed.write_generation()
    update = ModelUpdate(_manifest(crashed), {"weight": np.ones(3, np.float32)}, {"ad": rows([1, 2], 1.0)}, {})
    crashed.append(update)
    if lost != "everything":
        crashed.write(update)
        store.nodes.execute([("UNLINK", "freshet:ads:live")])
    if lost == "head":
        store.nodes.execute([("UNLINK", "freshet:ads:1:head"), ("UNLINK", "freshet:ads:1:dense")])
    publisher = open_publisher()
    assert (store.live(), publisher.last_step()) == (1, 7)
    check_store(updates_log, store, 1)
    publish(publisher, delta(8, rows={"ad": rows([1], 4.0)}))
    check_store(updates_log, store, 1)


def test_crash_before_the_first_version_leaves_a_generation_that_is_passed_over(
    open_publisher: Open, store: RowStore, updates_log: EventLog
) -> None:
    crashed = Committer(target(updates_log, store))
    crashed.recover()
    crashed.write_generation()
    publisher = open_publisher()
    publish(publisher, first())
    assert (store.live(), store.generations()) == (2, [1, 2])


def test_store_that_lost_everything_gets_a_new_generation_with_higher_numbers(
    open_publisher: Open, store: RowStore, updates_log: EventLog, valkey_nodes: list[ValkeyServer]
) -> None:
    publisher = open_publisher()
    publish(publisher, first(step=1))
    for node in valkey_nodes:
        node.client().flushall()
    assert publisher.offer(delta(2))
    assert publisher.wait_until_idle(20)
    assert publisher.wants_full()
    publish(publisher, first(step=2))
    assert (store.live(), store.generations()) == (2, [2])
    head = store.head(2)
    assert head is not None
    assert head.version == 2
    check_store(updates_log, store, 2)


def test_log_trimmed_behind_the_store_starts_a_new_generation(
    open_publisher: Open, store: RowStore, updates_log: EventLog
) -> None:
    publish(open_publisher(), first())
    ahead = Committer(target(updates_log, store))
    ahead.recover()
    ahead.append(ModelUpdate(_manifest(ahead), {}, {}, {}))
    ahead.append(ModelUpdate(_manifest(ahead), {}, {}, {}))
    updates_log.trim(updates_log.end_offsets([UPDATES]))
    publisher = open_publisher()
    assert publisher.wants_full()
    publish(publisher, first())
    assert publisher.status().generation == 2


def test_newer_publisher_fences_the_older_one(open_publisher: Open, updates_log: EventLog) -> None:
    older = open_publisher()
    publish(older, first())
    newer_log = open_log(updates_log.address)
    open_publisher(log=newer_log).close()
    newer_log.close()
    assert older.offer(delta(2))
    assert not older.wait_until_idle(20)
    with pytest.raises(ConflictError):
        older.due()


def test_while_the_store_is_away_versions_wait_and_nothing_is_lost(updates_log: EventLog) -> None:
    with valkey_server(options=("--appendonly", "yes", "--appendfsync", "always")) as server:
        brief = RedisConfig(connect_timeout_seconds=0.2, timeout_seconds=0.5, num_retries=0)
        store = open_row_store(server.address, model="ads", password="", config=brief)
        publisher = ThreadedPublisher(target(updates_log, store), gate(), QUICK)
        assert publisher.wait_until_idle(20)
        publish(publisher, first())
        server.kill()
        assert publisher.offer(delta(2, rows={"ad": rows([2], 7.0)}))
        wait_until(lambda: publisher.status().num_failures > 2, "no failure was counted")
        assert not publisher.due()
        assert not publisher.offer(delta(3))
        assert "cannot be reached" in publisher.status().error
        server.start()
        assert publisher.wait_until_idle(20)
        assert publisher.last_step() == 2
        assert publisher.status().error == ""
        check_store(updates_log, store, 1)
        publisher.close()
        store.close()


def test_publisher_closed_while_the_store_is_away_ends_and_the_next_one_writes_the_version(
    updates_log: EventLog,
) -> None:
    with valkey_server(options=("--appendonly", "yes", "--appendfsync", "always")) as server:
        brief = RedisConfig(connect_timeout_seconds=0.2, timeout_seconds=0.5, num_retries=0)
        store = open_row_store(server.address, model="ads", password="", config=brief)
        publisher = ThreadedPublisher(target(updates_log, store), gate(), QUICK)
        assert publisher.wait_until_idle(20)
        publish(publisher, first())
        assert publisher.offer(delta(2, rows={"ad": rows([2], 7.0)}))
        server.kill()
        publisher.close(0)
        server.start()
        again = ThreadedPublisher(target(updates_log, store), gate(), QUICK)
        assert again.wait_until_idle(20)
        check_store(updates_log, store, 1)
        again.close()
        store.close()


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
    assert publisher.wait_until_idle(30)
    assert not publisher.due()


def test_ads_beyond_the_capacity_have_no_bundle_and_single_rows_remain(open_publisher: Open, store: RowStore) -> None:
    publisher = open_publisher(bundles=BundleConfig(capacity=2))
    publish(publisher, first(ads=[(1, 7, 9), (2, 7, 9)]))
    publish(publisher, delta(2, ads=[(3, 8, 9)]))
    assert sum(len(bundles.ids) for bundles in store.rows(1).scan_ads()) == 2
    assert store.fetch_rows(1, {AD: ids(1, 2, 3)}).found.all()


def _manifest(committer: Committer) -> Manifest:
    generation = committer.generation
    assert generation is not None
    return msgspec.structs.replace(manifest(committer.next_version, generation.generation), step=7)


def test_store_equals_the_replayed_log_after_every_kill_of_the_publisher(
    updates_log: EventLog, store: RowStore, redis_address: str
) -> None:
    random = np.random.default_rng(11)
    num_versions = []
    for seed in range(5):
        arguments = [updates_log.address, redis_address, str(seed)]
        command = [sys.executable, "-m", "tests.support.publishing_process", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == b"publishing\n"
                time.sleep(random.uniform(0.02, 0.3))
            finally:
                process.kill()
        log = open_log(updates_log.address)
        recovered = ThreadedPublisher(target(log, store, network={"kind": "test"}), gate(), QUICK)
        assert recovered.wait_until_idle(20)
        check_store(log, store, 1)
        publish(recovered, delta(recovered.last_step() + 1, full=recovered.wants_full()))
        check_store(log, store, 1)
        recovered.close()
        log.close()
        num_versions.append(recovered.last_step())
    assert sorted(set(num_versions)) == num_versions
    versions = [update.manifest.version for update in updates(updates_log)]
    assert versions == list(range(1, len(versions) + 1))


@pytest.mark.kafka
def test_versions_reach_kafka_and_are_continued_after_a_restart(kafka: KafkaServer, valkey: ValkeyServer) -> None:
    model = f"ads-{time.time_ns()}"
    heads: list[Manifest] = []
    for _ in range(2):
        log, store = open_log(kafka.address), open_row_store(valkey.address, model=model, password="")
        publisher = ThreadedPublisher(target(log, store), gate(), QUICK)
        assert publisher.wait_until_idle(60), publisher.status()
        step = publisher.last_step() + 1
        publish(publisher, first(step) if publisher.wants_full() else delta(step, rows={"ad": rows([1], 4.0)}))
        publish(publisher, delta(step + 1, tombstones={"ad": ids(2)}))
        head = publisher.status().head
        assert head is not None
        heads.append(head)
        publisher.close()
        check_store(log, store, head.generation)
        store.close()
        log.close()
    assert heads[0].generation == heads[1].generation
    assert [head.step for head in heads] == [1, 3]
    assert heads[1].version == heads[0].version + 2

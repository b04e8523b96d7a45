"""A publisher that dies, loses its store or its log, or is taken over: nothing is lost, nothing stands twice."""

from __future__ import annotations

import subprocess
import sys
import time

import msgspec
import numpy as np
import pytest

from streams.contract.errors import ConflictError
from streams.contract.manifest import Manifest, ModelUpdate
from streams.log.event_log import EventLog, open_log
from streams.store.redis_client import RedisConfig
from streams.store.row_store import RowStore, open_row_store
from streams.versions.commit import Committer
from streams.versions.publish import ThreadedPublisher
from tests.support.deltas import delta
from tests.support.generations import ids, manifest, rows
from tests.support.kafka_server import KafkaServer
from tests.support.publishers import (
    QUICK,
    UPDATES,
    Open,
    check_store,
    first,
    publish,
    target,
    updates,
)
from tests.support.valkey import ValkeyServer, valkey_server, wait_until
from trainer.gate import gate


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
    assert publisher.wait_until_idle(60)
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
    assert not older.wait_until_idle(60)
    with pytest.raises(ConflictError):
        older.due()


def test_while_the_store_is_away_versions_wait_and_nothing_is_lost(updates_log: EventLog) -> None:
    with valkey_server(options=("--appendonly", "yes", "--appendfsync", "always")) as server:
        brief = RedisConfig(connect_timeout_seconds=0.2, timeout_seconds=0.5, num_retries=0)
        store = open_row_store(server.address, model="ads", password="", config=brief)
        publisher = ThreadedPublisher(target(updates_log, store), gate(), QUICK)
        assert publisher.wait_until_idle(60)
        publish(publisher, first())
        server.kill()
        assert publisher.offer(delta(2, rows={"ad": rows([2], 7.0)}))
        wait_until(lambda: publisher.status().num_failures > 2, "no failure was counted")
        assert not publisher.due()
        assert not publisher.offer(delta(3))
        assert "cannot be reached" in publisher.status().error
        server.start()
        assert publisher.wait_until_idle(60)
        assert publisher.last_step() == 2
        assert publisher.status().error == ""
        check_stored(updates_log, server)
        publisher.close()
        store.close()


def test_publisher_closed_while_the_store_is_away_ends_and_the_next_one_writes_the_version(
    updates_log: EventLog,
) -> None:
    with valkey_server(options=("--appendonly", "yes", "--appendfsync", "always")) as server:
        brief = RedisConfig(connect_timeout_seconds=0.2, timeout_seconds=0.5, num_retries=0)
        store = open_row_store(server.address, model="ads", password="", config=brief)
        publisher = ThreadedPublisher(target(updates_log, store), gate(), QUICK)
        assert publisher.wait_until_idle(60)
        publish(publisher, first())
        assert publisher.offer(delta(2, rows={"ad": rows([2], 7.0)}))
        server.kill()
        publisher.close(0)
        server.start()
        again = ThreadedPublisher(target(updates_log, store), gate(), QUICK)
        assert again.wait_until_idle(60)
        check_stored(updates_log, server)
        again.close()
        store.close()


def check_stored(log: EventLog, server: ValkeyServer) -> None:
    """As `check_store`, by connections with more patience than those that were to notice an outage soon."""
    store = open_row_store(server.address, model="ads", password="")
    check_store(log, store, 1)
    store.close()


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
        assert recovered.wait_until_idle(60)
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

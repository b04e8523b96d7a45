"""No score mixes two versions: 16 clients ask a real Triton while versions and generations change under them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from serving.scorer.config import ScorerConfig
from serving.triton.server import TritonServer
from streams.contract.columns import Array
from streams.contract.features import FeatureTransform
from streams.contract.values import ids_of
from streams.contract.wire import info_from, pack_request
from streams.log.event_log import EventLog, open_log
from streams.store.row_store import RowStore, open_row_store
from tests.support.betraying import (
    DIM,
    BetrayingNetwork,
    Rule,
    betraying_request,
    betraying_schema,
    constant,
    set_version,
    torn,
)
from tests.support.patience import PATIENT
from tests.support.published import MODEL, PublishedModel
from tests.support.triton import BlockingClient, need_triton, ranker
from tests.support.valkey import valkey_server, wait_until

pytestmark = [pytest.mark.triton, pytest.mark.slow]

NUM_CLIENTS = 16
NUM_ADS = 120
NUM_UNITS = 30
HOT_ROWS = 60
"""Fewer than there are, so that misses are fetched while versions are being written."""
LAGS_SECONDS = ((0.0, 0.0), (0.05, 0.0), (0.0, 0.05))
"""How long a version stands in the store alone, or in the log alone."""
FIRST_VERSIONS = {1: 1, 2: 500}


@dataclass
class Findings:
    """What the clients saw."""

    torn: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    versions: set[int] = field(default_factory=set)
    generations: set[int] = field(default_factory=set)
    misses: int = 0


@dataclass(frozen=True)
class Servers:
    """A Triton over a log and a store of its own."""

    triton: TritonServer
    log: EventLog
    store: RowStore


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    need_triton()
    with valkey_server() as redis:
        log = open_log(f"embedded:{tmp_path / 'log'}")
        store = open_row_store(redis.address, model=MODEL, password="")
        scorer = ScorerConfig(model=MODEL, log=log.address, redis=redis.address, max_hot_rows=HOT_ROWS,
                              live_poll_seconds=0.02, catch_up_timeout_seconds=30.0, **PATIENT)  # fmt: skip
        with ranker(tmp_path / "run", scorer) as triton:
            yield Servers(triton, log, store)
        store.close()
        log.close()


def test_check_finds_a_score_of_another_version() -> None:
    rule = rule_of(1)
    of_seven, of_eight = (rule.expected(3, [1, 2], [5, 6, 7], version) for version in (7, 8))
    scores: Array = 1 / (1 + np.exp(-of_seven))
    assert not torn(scores, of_seven)
    assert torn(scores, of_eight)
    for place in np.flatnonzero(of_seven != of_eight):
        mixed = scores.copy()
        mixed[place] = 1 / (1 + np.exp(-of_eight[place]))
        assert torn(mixed, of_seven)


def test_versions_published_under_load_are_never_mixed(servers: Servers) -> None:
    model = betraying_model(servers, generation=1)
    model.begin()
    wait_for(servers, 1)

    def publish(findings: Findings) -> None:
        for number in range(120):
            log_lag_seconds, store_lag_seconds = LAGS_SECONDS[number % len(LAGS_SECONDS)]
            publish_next(model, log_lag_seconds, store_lag_seconds)
            time.sleep(0.01)
            if number % 5 == 0:
                wait_until(lambda: model.version in findings.versions, "the newest version is not served")

    findings = clients_while(servers, publish)
    assert findings.torn == []
    assert findings.refused == []
    assert len(findings.versions) > 20
    assert findings.misses > 100


def test_rollback_under_load_switches_rows_and_dense_part_together(servers: Servers) -> None:
    first, second = (betraying_model(servers, generation=generation) for generation in (1, 2))
    first.begin()
    second.begin(live=False)
    for model in (first, second):
        for _ in range(8):
            publish_next(model)
    wait_for(servers, first.version)

    def switch(findings: Findings) -> None:
        for live in (2, 1, 2, 1):
            servers.store.set_live(live)
            wait_for_generation(servers, live)
            for model in (first, second):
                publish_next(model)
            time.sleep(0.2)
            wait_until(lambda live=live: live in findings.generations, "nobody is answered by it")  # type: ignore[misc]

    findings = clients_while(servers, switch)
    assert findings.torn == []
    assert findings.refused == []
    assert findings.generations == {1, 2}


def rule_of(generation: int) -> Rule:
    return Rule(first_version=FIRST_VERSIONS[generation], num_ads=NUM_ADS, num_units=NUM_UNITS)


def betraying_model(servers: Servers, *, generation: int) -> PublishedModel:
    schema = betraying_schema()
    model = PublishedModel(servers.log, servers.store, generation=generation, schema=schema,
                           first_version=FIRST_VERSIONS[generation], network=BetrayingNetwork(schema))  # fmt: skip
    betray(model, model.first_version)
    return model


def betray(model: PublishedModel, version: int) -> None:
    assert isinstance(model.network, BetrayingNetwork)
    set_version(model.network, version)
    model.defaults = np.full_like(model.defaults, constant(version))


def publish_next(model: PublishedModel, log_lag_seconds: float = 0.0, store_lag_seconds: float = 0.0) -> None:
    """The next version by the generation's rule, with the bundles of all ads that have a row."""
    version = model.version + 1
    betray(model, version)
    rule = rule_of(model.generation)
    row = np.full(DIM, constant(version), dtype=np.float32)
    rows, gone = {}, {}
    for table, count in (("ad", NUM_ADS), ("unit", NUM_UNITS)):
        ids = ids_of(model.schema.feature(table), np.arange(count))
        written, taken = rule.written(count, version)
        rows[table], gone[table] = dict.fromkeys(ids[written].tolist(), row), ids[taken].tolist()
    update = model.next_version(rows, gone)
    ads = np.array([[ad] for ad in model.rows["ad"]], dtype=np.int64).reshape(-1, 1)
    if log_lag_seconds:
        model.write(update, ads)
        time.sleep(log_lag_seconds)
    model.append(update)
    if not log_lag_seconds:
        time.sleep(store_lag_seconds)
        model.write(update, ads)


def clients_while(servers: Servers, change: Callable[[Findings], None]) -> Findings:
    """Runs `change` while clients ask; what they found."""
    findings, stop = Findings(), threading.Event()
    clients = [threading.Thread(target=ask, args=(servers, number, findings, stop)) for number in range(NUM_CLIENTS)]
    for client in clients:
        client.start()
    try:
        change(findings)
    finally:
        stop.set()
        for client in clients:
            client.join()
    return findings


def ask(servers: Servers, number: int, findings: Findings, stop: threading.Event) -> None:
    rng = np.random.default_rng(number)
    schema = betraying_schema()
    transform = FeatureTransform(schema)
    client = BlockingClient(servers.triton.http_address)
    while not stop.is_set():
        ads = rng.integers(0, NUM_ADS + 5, size=int(rng.integers(1, 12))).tolist()
        history = rng.integers(0, NUM_ADS, size=int(rng.integers(1, 6))).tolist()
        unit = int(rng.integers(0, NUM_UNITS + 2))
        batch = betraying_request(transform, unit, history, ads)
        status, outputs, message = client.infer(pack_request(batch, schema.hash))
        if status != 200:
            findings.refused.append(message)
            continue
        info = info_from(outputs["info"])
        findings.versions.add(info.version)
        findings.generations.add(info.generation)
        findings.misses += info.num_misses
        expected = rule_of(info.generation).expected(unit, history, ads, info.version)
        if torn(outputs["probability"][0], expected) or info.flags:
            logits = np.log(outputs["probability"][0] / (1 - outputs["probability"][0]))
            findings.torn.append(f"{info}, unit {unit}, history {history}, ads {ads}: {logits} and not {expected}")
    client.close()


def wait_for(servers: Servers, version: int) -> None:
    client = BlockingClient(servers.triton.http_address)
    client.wait_for_version(version)
    client.close()


def wait_for_generation(servers: Servers, generation: int) -> None:
    client = BlockingClient(servers.triton.http_address)
    deadline = time.monotonic() + 60
    while client.info().generation != generation:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    client.close()

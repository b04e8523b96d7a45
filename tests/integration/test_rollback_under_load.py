"""Rollback and promotion over HTTP while clients score: no error, and every answer is of one generation."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freshet.stack import Stack, StackConfig
from streams.contract.values import ids_of
from streams.log.event_log import EventLog, open_log
from streams.store.row_store import RowStore, open_row_store
from tests.support.betraying import DIM, SHOWS, BetrayingNetwork, betraying_schema, constant, set_version
from tests.support.gateway import Http, wait_until_ready
from tests.support.published import MODEL, PublishedModel
from tests.support.triton import need_triton
from tests.support.valkey import wait_until

pytestmark = [pytest.mark.triton, pytest.mark.slow]

NUM_CLIENTS = 8
NUM_ADS = 40
NUM_UNITS = 20
FIRST_VERSIONS = {1: 1, 2: 101}
SWITCHES = (("promote", 2), ("rollback", 1), ("promote", 2), ("rollback", 1), ("promote", 2), ("promote", 1))
ANSWERS_BETWEEN = 40
"""Answers of the new generation that are waited for before the next switch."""
PATIENT = {"X-Deadline-Ms": "20000"}
"""Who scores is looked at, not how soon: eight clients and a Triton may share two cores with others."""


@dataclass
class Findings:
    """What the clients saw."""

    errors: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    by_generation: dict[int, int] = field(default_factory=lambda: {1: 0, 2: 0})


@dataclass(frozen=True)
class World:
    """A stack that learns nothing, and two generations that the test publishes."""

    http: Http
    log: EventLog
    store: RowStore
    models: dict[int, PublishedModel]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    need_triton()
    stack = Stack(StackConfig(folder=tmp_path / "stack", schema=tmp_path / "unused", model=MODEL, learns=False))
    stack.start(lambda told: None)
    log = open_log(stack.config.log)
    store = open_row_store(stack.config.redis, model=MODEL, password="")
    try:
        models = {number: begin(log, store, number) for number in FIRST_VERSIONS}
        http = Http(stack.gateway_url)
        wait_until_ready(http)
        yield World(http, log, store, models)
    finally:
        store.close()
        log.close()
        stack.stop()


def test_rollback_and_promotion_under_load_switch_dense_and_sparse_together(world: World) -> None:
    findings, stop = Findings(), threading.Event()
    clients = [threading.Thread(target=ask, args=(world.http, n, findings, stop)) for n in range(NUM_CLIENTS)]
    for client in clients:
        client.start()
    try:
        for action, generation in SWITCHES:
            answer = world.http.post(f"/v1/models/{generation}:{action}", b"{}")
            assert (answer.status, answer.json) == (200, {"live": generation})
            seen = findings.by_generation[generation]
            wait_for_answers(findings, generation, seen + ANSWERS_BETWEEN)
            publish_next(world.models[generation])
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert findings.errors == []
    assert findings.wrong == []
    assert min(findings.by_generation.values()) > ANSWERS_BETWEEN


def test_rollback_to_newer_and_promotion_of_unknown_generation_are_refused_and_change_nothing(world: World) -> None:
    newer, unknown = (world.http.post(f"/v1/models/{which}", b"{}") for which in ("2:rollback", "9:promote"))
    assert (newer.status, newer.error["field"]) == (409, "generation")
    assert (unknown.status, unknown.error["field"]) == (404, "generation")
    assert world.http.get("/v1/models").json["live"] == 1


def wait_for_answers(findings: Findings, generation: int, count: int) -> None:
    """Waits until clients have seen so many answers of the generation."""
    wait_until(lambda: findings.by_generation[generation] > count, f"{generation} is not served: {findings}", 60)


def begin(log: EventLog, store: RowStore, number: int) -> PublishedModel:
    """A generation whose parameters and rows are all the constant of its version; the first is live."""
    schema = betraying_schema()
    model = PublishedModel(log, store, generation=number, schema=schema, first_version=FIRST_VERSIONS[number],
                           network=BetrayingNetwork(schema))  # fmt: skip
    betray(model, model.first_version)
    model.begin(live=number == 1)
    publish_next(model)
    return model


def betray(model: PublishedModel, version: int) -> None:
    assert isinstance(model.network, BetrayingNetwork)
    set_version(model.network, version)
    model.defaults = np.full_like(model.defaults, constant(version))


def publish_next(model: PublishedModel) -> None:
    """The next version: the dense part and every row become its constant."""
    version = model.version + 1
    betray(model, version)
    row = np.full(DIM, constant(version), dtype=np.float32)
    counts = {"ad": NUM_ADS, "unit": NUM_UNITS}
    ids = {table: ids_of(model.schema.feature(table), np.arange(count)) for table, count in counts.items()}
    ads = np.array(ids["ad"], dtype=np.int64).reshape(-1, 1)
    model.publish({table: dict.fromkeys(of.tolist(), row) for table, of in ids.items()}, ads=ads)


def ask(http: Http, number: int, findings: Findings, stop: threading.Event) -> None:
    rng = np.random.default_rng(number)
    while not stop.is_set():
        reply = http.post("/v1/score", request(rng), PATIENT)
        if reply.status != 200 or reply.json["flags"]:
            findings.errors.append(f"{reply.status} {reply.body!r}")
            time.sleep(0.1)
            continue
        judge(reply.json, findings)


def request(rng: np.random.Generator) -> dict[str, Any]:
    """Every third candidate's score shows the dense part, its ad's row, the unit's rows."""
    ads = rng.integers(0, NUM_ADS + 3, size=int(rng.integers(3, 12))).tolist()
    shows = {name: [float(n % len(SHOWS) == place) for n in range(len(ads))] for place, name in enumerate(SHOWS)}
    return {
        "unit_id": "u",
        "user": {"unit": int(rng.integers(0, NUM_UNITS + 2)), "history": rng.integers(0, NUM_ADS, size=3).tolist()},
        "candidates": {"ad_id": [str(ad) for ad in ads], "ad": ads, **shows},
    }


def judge(answer: dict[str, Any], findings: Findings) -> None:
    version, generation = answer["version"], answer["generation"]
    expected = 1 / (1 + np.exp(-constant(version)))
    of_pair = FIRST_VERSIONS[generation] < version < FIRST_VERSIONS[generation] + 50
    if not of_pair or np.abs(np.array(answer["scores"]) - expected).max() > 1e-5:
        findings.wrong.append(f"{answer} and not {expected}")
    findings.by_generation[generation] += 1

"""From a changed model to a scorer that uses it: latency, rows a second, bytes and memory a row.

    offer ──> gate ──> append to model-updates ──> scorer applies ──> its report
                                     └──> rows to Redis

A version holds 10,000 changed rows of the measured DLRM; `visible` ends where the scorer in Triton
notes that it has applied the version. Both clocks are the wall clock of this machine.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import redis
import torch

from bench.load import quantile
from bench.machine import describe
from bench.serve import wait_until_ready
from bench.served_model import ServedModel, publish_trained_model
from bench.train import load_criteo_schema
from freshet.stack import Stack, StackConfig
from serving.scorer.hot_rows import HotRows
from streams.command import say
from streams.contract.errors import FreshetError
from streams.datasets.registry import schema_path
from streams.log.event_log import MODEL_UPDATES, EventLog, TopicPartition, open_log
from streams.store.row_store import RowStore, open_row_store
from streams.turns.cursor import cursor_at
from streams.versions.commit import PublishTarget
from streams.versions.publish import PublishConfig, ThreadedPublisher
from trainer.gate import GateConfig, gate
from trainer.model.export import export_programs
from trainer.model.network import describe_network
from trainer.offering import build_delta

NUM_ROWS = 10_000
VISIBLE_GOAL_MS = 100.0
_UPDATES = TopicPartition(MODEL_UPDATES, 0)
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Published:
    """One version: milliseconds from the offer until a scorer used it and until Redis held it; its bytes in the log."""

    visible_ms: float
    stored_ms: float
    log_bytes: int


@dataclass(frozen=True, slots=True)
class _Ends:
    """What a version passes through."""

    served: ServedModel
    publisher: ThreadedPublisher
    store: RowStore
    log: EventLog
    generation: int


def run(*, quick: bool = False) -> dict[str, Any]:
    """`visible_p50_ms` and what belongs to it."""
    return {**describe(5 if quick else 40), **measure(5 if quick else 40)}


def measure(versions: int) -> dict[str, Any]:
    """Publishes so many versions of 10,000 rows one after the other, to a scorer that has nothing else to do."""
    # one thread: with as many busy processes as cores, threads of one product wait for each other
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="freshet-bench-") as folder, _ready(Path(folder)) as (ends, full):
        rng = np.random.default_rng(0)
        _publish(ends, NUM_ROWS, rng)
        empty = _publish(ends, 0, rng)
        began = time.perf_counter()
        found = [_publish(ends, NUM_ROWS, rng) for _ in range(versions)]
        seconds = time.perf_counter() - began
    visible = [each.visible_ms for each in found]
    p50 = quantile(visible, 0.5)
    return {
        "rows_a_version": NUM_ROWS,
        "visible_p50_ms": round(p50, 1),
        "visible_p99_ms": round(quantile(visible, 0.99), 1),
        "stored_p50_ms": round(quantile([each.stored_ms for each in found], 0.5), 1),
        "rows_per_second": round(versions * NUM_ROWS / seconds),
        "log_bytes_per_row": round((median(each.log_bytes for each in found) - empty.log_bytes) / NUM_ROWS, 1),
        "log_bytes_of_dense_part": empty.log_bytes,
        **full,
        "scorer_bytes_per_million_hot_rows": _hot_bytes(),
        "goals": {"visible_p50_ms": p50 < VISIBLE_GOAL_MS},
    }


@contextmanager
def _ready(folder: Path) -> Iterator[tuple[_Ends, dict[str, Any]]]:
    """A scorer with the first, full version, a publisher that goes on from it, and what that version takes in Redis."""
    schema = schema_path("simulator:criteo")
    assert schema is not None
    stack = Stack(StackConfig(folder=folder, schema=schema, learns=False))
    try:
        stack.start(say)
        before = _redis_bytes(stack.config.redis)
        served = publish_trained_model(stack.config.log, stack.config.redis, stack.config.model)
        grown, num_rows = _redis_bytes(stack.config.redis) - before, len(served.learner.vocabulary)
        # what the first version held is committed: the next one holds changes alone
        served.learner.changes.taken(served.learner.counters.step)
        served.learner.changes.settle(served.learner.counters.step)
        with _publishing(stack.config, served) as ends:
            wait_until_ready(f"{stack.gateway_url}/readyz")
            yield ends, {"rows_of_full_version": num_rows, "redis_bytes_per_row": round(grown / num_rows, 1)}
    finally:
        stack.stop()


@contextmanager
def _publishing(config: StackConfig, served: ServedModel) -> Iterator[_Ends]:
    learner = served.learner
    log, store = open_log(config.log), open_row_store(config.redis, model=config.model)
    target = PublishTarget(log=log, store=store, schema=load_criteo_schema(),
                           network=describe_network(learner.recipe.network),
                           programs=export_programs(learner.network), recipe=learner.recipe.name)  # fmt: skip
    publisher = ThreadedPublisher(target, gate(GateConfig(min_examples=0)), PublishConfig(interval_seconds=0.0))
    try:
        publisher.wait_until_idle(_PATIENCE_SECONDS)
        live = store.live()
        assert live is not None, "the first version is live"
        yield _Ends(served, publisher, store, log, live)
    finally:
        publisher.close()
        store.close()
        log.close()


def _publish(ends: _Ends, num_rows: int, rng: np.random.Generator) -> Published:
    """One version of rows drawn without repeats."""
    learner = ends.served.learner
    learner.counters.step += 1
    held = learner.vocabulary.items().slots
    learner.changes.since.touched[rng.choice(held, num_rows, replace=False)] = True
    delta = build_delta(learner, cursor_at([0]), "examples", full=False)
    begin = ends.log.end_offsets([_UPDATES])[_UPDATES]
    began_ms = time.time() * 1000
    if not ends.publisher.offer(delta):
        raise FreshetError("the version was refused", field="publish", value=ends.publisher.status().last_refusal)
    learner.changes.taken(learner.counters.step)
    ends.publisher.wait_until_idle(_PATIENCE_SECONDS)
    stored_ms = time.time() * 1000 - began_ms
    head = ends.store.head(ends.generation)
    assert head is not None, "a version was committed"
    applied_ms = _wait_applied(ends, head.version)
    learner.changes.settle(learner.counters.step)
    records = ends.log.read({_UPDATES: begin})
    return Published(applied_ms - began_ms, stored_ms, sum(len(record.value) for record in records))


def _wait_applied(ends: _Ends, version: int) -> int:
    """When a scorer applied the version, in wall milliseconds; a later first sight counts as that one's."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        applied = ends.store.applied(ends.generation)
        if version in applied:
            return applied[version]
        time.sleep(0.005)
    raise FreshetError("no scorer applied the version", field="version", value=version)


def _redis_bytes(address: str) -> int:
    client = redis.Redis.from_url(address)
    try:
        return int(client.info("memory")["used_memory"])
    finally:
        client.close()


def _hot_bytes(num_rows: int = 1_000_000, dim: int = 16) -> int:
    """Memory of a scorer's hot rows and their bookkeeping, filled."""
    rows = HotRows(1, dim, capacity=num_rows, max_unknown_ids=1)
    ids = np.arange(num_rows, dtype=np.int64)
    rows.put(np.zeros(num_rows, dtype=np.int16), ids, np.zeros((num_rows, dim), dtype=np.float32))
    assert len(rows) == num_rows, "all rows are held"
    return rows.num_bytes

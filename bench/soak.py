"""Memory of every long-running process over many events: replayed through log, join and trainer, versions served.

The tables are small enough to be full before the warm-up ends: behind it ids are admitted and evicted all the
time, in the trainer, in Redis and in the scorer, and what still grows is not a table that fills.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.machine import describe
from bench.memory_slope import Samples, slopes
from bench.process_memory import memory_of
from bench.soak_traffic import MILLISECONDS_PER_REQUEST, Progress, Traffic
from freshet.stack import Bounds, Stack, StackConfig
from streams.command import say
from streams.contract.errors import FreshetError
from streams.datasets.registry import schema_path

_WARM_UP_SHARE = 0.3
_PATIENCE_SECONDS = 300.0
_WINDOW_SECONDS = 40.0
_BOUNDS = Bounds(table_rows=10_000, tombstone_seconds=30.0, max_hot_rows=80_000, max_unknown_ids=50_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class SoakConfig:
    """Events in all, seconds between two looks at every process, and bounds that the warm-up reaches."""

    num_events: int = 2_000_000
    sample_seconds: float = 2.0
    bounds: Bounds = _BOUNDS


def run(*, quick: bool = False) -> dict[str, Any]:
    """`slope_mib_per_million_events` by process, with first, last and largest sizes behind the warm-up."""
    config = SoakConfig(num_events=100_000) if quick else SoakConfig()
    return {**describe(1), **measure_soak(config)}


def measure_soak(config: SoakConfig) -> dict[str, Any]:
    """Starts everything, replays, samples, stops."""
    schema = schema_path("simulator:criteo")
    assert schema is not None
    with tempfile.TemporaryDirectory(prefix="freshet-bench-") as folder:
        stack = Stack(StackConfig(
            folder=Path(folder), schema=schema, window_seconds=_WINDOW_SECONDS, clock="data", bounds=config.bounds,
        ))  # fmt: skip
        try:
            stack.start(say)
            began = time.monotonic()
            with Traffic(stack, config.num_events) as traffic:
                samples, outcome = _soak(stack, traffic, config)
            seconds = time.monotonic() - began
        finally:
            stack.stop()
    warm_up_events = int(_WARM_UP_SHARE * config.num_events)
    return {
        "events": samples.num_events[-1],
        "events_per_second": round(samples.num_events[-1] / seconds),
        **outcome,
        "requests_scored": traffic.num_scored,
        "warm_up_events": warm_up_events,
        "held_constant": {**asdict(config.bounds), "milliseconds_per_impression": MILLISECONDS_PER_REQUEST},
        **slopes(samples, warm_up_events),
    }  # fmt: skip


def _soak(stack: Stack, traffic: Traffic, config: SoakConfig) -> tuple[Samples, dict[str, int]]:
    """The looks until all events are joined; and what was learnt and published by then."""
    progress = Progress(stack)
    samples = Samples(memory={child.name: [] for child in stack.children})
    deadline = time.monotonic() + _PATIENCE_SECONDS
    try:
        while not samples.num_events or samples.num_events[-1] < config.num_events:
            time.sleep(config.sample_seconds)
            stack.check()
            before = samples.num_events[-1] if samples.num_events else 0
            _look(stack, progress, samples)
            if samples.num_events[-1] > before:
                deadline = time.monotonic() + _PATIENCE_SECONDS
            if traffic.failures or time.monotonic() > deadline:
                raise FreshetError("the soak got stuck", field="soak", value=[repr(each) for each in traffic.failures])
        version, examples, _ = progress.published()
        return samples, {"examples_trained": examples, "versions_published": version}
    finally:
        progress.close()


def _look(stack: Stack, progress: Progress, samples: Samples) -> None:
    samples.num_events.append(progress.joined())
    for child in stack.children:
        samples.memory[child.name].append(memory_of(child.process.pid))

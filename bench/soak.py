"""Memory of every long-running process over many events: replayed through log, join and trainer, versions served.

The tables are small enough to be full before the warm-up ends: behind it ids are admitted and evicted all the
time, in the trainer, in Redis and in the scorer, and what still grows is not a table that fills.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.machine import describe
from bench.process_memory import Memory, memory_of
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


@dataclass(frozen=True, slots=True)
class Samples:
    """Events joined, and each process' memory, look by look."""

    num_events: list[int] = field(default_factory=list)
    memory: dict[str, list[Memory]] = field(default_factory=dict)


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


def slopes(samples: Samples, warm_up_events: float) -> dict[str, Any]:
    """Growth and sizes by process behind the warm-up. Raises FreshetError with too few looks."""
    events = np.array(samples.num_events, dtype=np.float64)
    settled = events >= warm_up_events
    if len(np.unique(events[settled])) < 3:
        raise FreshetError("too few looks behind the warm-up", field="sample_seconds", value=int(settled.sum()),
                           remedy="look more often, or replay more events")  # fmt: skip
    sizes = {
        name: np.array([[memory.resident, memory.anonymous] for memory in seen])[settled]
        for name, seen in samples.memory.items()
    }
    millions = events[settled] / 1e6
    return {
        "slope_mib_per_million_events": {name: _slope(millions, size[:, 0]) for name, size in sizes.items()},
        "anonymous_slope_mib_per_million_events": {name: _slope(millions, size[:, 1]) for name, size in sizes.items()},
        "resident_mib": {name: _ends(size[:, 0]) for name, size in sizes.items()},
        "anonymous_mib": {name: _ends(size[:, 1]) for name, size in sizes.items()},
    }


def _slope(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """The median slope over all pairs of looks (Theil and Sen): a checkpoint's short peak does not tilt it."""
    one, other = np.triu_indices(len(x), k=1)
    apart = x[other] > x[one]
    one, other = one[apart], other[apart]
    return round(float(np.median((y[other] - y[one]) / (x[other] - x[one]))), 2)


def _ends(size: npt.NDArray[np.float64]) -> dict[str, float]:
    return {"first": round(float(size[0]), 1), "last": round(float(size[-1]), 1),
            "largest": round(float(size.max()), 1)}  # fmt: skip


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

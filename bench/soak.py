"""Memory of every long-running process over many events: replayed through log, join and trainer, versions served.

Impressions and clicks of rows of Criteo's shape go to `events` at once, as the log keeps them; joiner
and trainer work them off while a client scores, so that gateway and scorer have work too. The slope is
a straight line's through the samples behind the warm-up, over the events joined by then.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from bench.load import Target, measure
from bench.machine import describe
from bench.serve import wait_until_ready
from bench.served_model import request_body
from bench.train import load_criteo_schema
from freshet.stack import Stack, StackConfig
from streams.command import say
from streams.contract.errors import FreshetError
from streams.contract.events import Event
from streams.datasets.clock import ORDER_START_MS
from streams.datasets.registry import schema_path
from streams.join_partition import JoinTopics
from streams.log import EVENTS, EventLog, open_log
from streams.replay import LogSink, ReplayConfig, in_time_order, replay
from streams.simulator.criteo_shaped import criteo_shaped_observations

_MOST_AHEAD = 20_000
_WARM_UP_SHARE = 0.3
_CANDIDATES = 32
_REQUESTS_AT_ONCE = 20
_PATIENCE_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SoakConfig:
    """Events in all, and seconds between two looks at every process."""

    num_events: int = 2_000_000
    sample_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class Samples:
    """Events joined, and resident MiB of each process, look by look."""

    num_events: list[int] = field(default_factory=list)
    resident_mib: dict[str, list[float]] = field(default_factory=dict)


def run(*, quick: bool = False) -> dict[str, Any]:
    """`slope_mib_per_million_events` by process, with first, last and largest sizes behind the warm-up."""
    config = SoakConfig(num_events=100_000) if quick else SoakConfig()
    return {**describe(1), **measure_soak(config)}


def measure_soak(config: SoakConfig) -> dict[str, Any]:
    """Starts everything, replays, samples, stops."""
    schema = schema_path("simulator:criteo")
    assert schema is not None
    with tempfile.TemporaryDirectory(prefix="freshet-bench-") as folder:
        stack = Stack(StackConfig(folder=Path(folder), schema=schema, window_seconds=2.0, clock="data"))
        try:
            stack.start(say)
            began = time.monotonic()
            samples = _soak(stack, config)
            seconds = time.monotonic() - began
        finally:
            stack.stop()
    return {
        "events": samples.num_events[-1],
        "events_per_second": round(samples.num_events[-1] / seconds),
        "warm_up_events": int(_WARM_UP_SHARE * config.num_events),
        **slopes(samples, _WARM_UP_SHARE * config.num_events),
    }


def slopes(samples: Samples, warm_up_events: float) -> dict[str, Any]:
    """The straight line's slope by process behind the warm-up. Raises FreshetError with too few looks."""
    events = np.array(samples.num_events, dtype=np.float64)
    settled = events >= warm_up_events
    if len(np.unique(events[settled])) < 3:
        raise FreshetError("too few looks behind the warm-up", field="sample_seconds", value=int(settled.sum()),
                           remedy="look more often, or replay more events")  # fmt: skip
    sizes = {name: np.array(seen)[settled] for name, seen in samples.resident_mib.items()}
    millions = events[settled] / 1e6
    return {
        "slope_mib_per_million_events": {
            name: round(float(np.polyfit(millions, seen, 1)[0]), 2) for name, seen in sizes.items()
        },
        "resident_mib": {
            name: {"first": round(float(seen[0]), 1), "last": round(float(seen[-1]), 1),
                   "largest": round(float(seen.max()), 1)}
            for name, seen in sizes.items()
        },
    }  # fmt: skip


def _soak(stack: Stack, config: SoakConfig) -> Samples:
    log = open_log(stack.config.log)
    samples = Samples(resident_mib={child.name: [] for child in stack.children})
    stop = threading.Event()
    failures: list[BaseException] = []
    threads = [
        threading.Thread(target=_guarded, args=(failures, _replay, log, config, stop), daemon=True),
        threading.Thread(target=_guarded, args=(failures, _score, stack.gateway_url, stop), daemon=True),
    ]
    try:
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not samples.num_events or samples.num_events[-1] < config.num_events:
            time.sleep(config.sample_seconds)
            stack.check()
            before = samples.num_events[-1] if samples.num_events else 0
            _look(stack, log, samples)
            if samples.num_events[-1] > before:
                deadline = time.monotonic() + _PATIENCE_SECONDS
            if failures or time.monotonic() > deadline:
                raise FreshetError("the soak got stuck", field="soak", value=[repr(each) for each in failures])
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        log.close()
    return samples


def _guarded(failures: list[BaseException], work: Any, *arguments: Any) -> None:
    try:
        work(*arguments)
    except BaseException as error:
        failures.append(error)


def _replay(log: EventLog, config: SoakConfig, stop: threading.Event) -> None:
    """Sends the events, never far ahead of the joiner: memory that grows with a backlog is not what is asked."""
    sink = LogSink(log)
    sent = 0

    def throttled(events: Sequence[Event]) -> None:
        nonlocal sent
        while sent - _joined(log) > _MOST_AHEAD and not stop.is_set():
            time.sleep(0.05)
        if stop.is_set():
            raise _Over
        sink(events)
        sent += len(events)

    observed = criteo_shaped_observations(config.num_events, seed=11)
    with _until_over():
        replay(islice(in_time_order(observed), config.num_events + _MOST_AHEAD), throttled,
               ReplayConfig(batch_size=1_000, final_tick=False))  # fmt: skip


class _Over(Exception):
    """The soak has ended while events were still to be sent."""


@contextmanager
def _until_over() -> Iterator[None]:
    try:
        yield
    except _Over:
        return


def _score(gateway_url: str, stop: threading.Event) -> None:
    """One client, with pauses, so that scoring takes its part without taking everything."""
    wait_until_ready(f"{gateway_url}/readyz", timeout_seconds=_PATIENCE_SECONDS)
    target = Target(
        f"{gateway_url}/v1/score", request_body(load_criteo_schema(), _CANDIDATES, event_time_ms=ORDER_START_MS)
    )
    while not stop.is_set():
        measure(target, clients=1, requests=_REQUESTS_AT_ONCE, warm_up=0)
        stop.wait(0.5)


def _joined(log: EventLog) -> int:
    """Events that the joiner has worked off: its committed offsets, summed."""
    return sum(log.committed_offsets(JoinTopics().group, log.partitions(EVENTS)).values())


def _look(stack: Stack, log: EventLog, samples: Samples) -> None:
    samples.num_events.append(_joined(log))
    for child in stack.children:
        samples.resident_mib[child.name].append(_resident_mib(child.process.pid))


def _resident_mib(pid: int) -> float:
    """Resident memory of a process and of all that it started, in MiB."""
    resident, waiting = 0.0, [pid]
    while waiting:
        number = waiting.pop()
        try:
            lines = Path(f"/proc/{number}/status").read_text().splitlines()
            waiting += map(int, Path(f"/proc/{number}/task/{number}/children").read_text().split())
        except OSError:
            continue
        resident += next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0.0)
    return resident

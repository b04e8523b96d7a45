"""The main job, end to end: a recorded log as live traffic through every station, then the account.

replay ─> gateway ─> log ─> join ─> trainer ─> gate ─> publish ─> scorer ─> gateway
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from freshet.audit import count_examples, freshness_seconds, model_updates
from freshet.demo_recommender import learner_of, recommender_account, render_recommender
from freshet.processes import Child
from freshet.stack import Stack
from freshet.torn import count_torn
from freshet.traffic import Traffic, TrafficConfig, TrafficResult
from streams.contract.encoding import decode_event, encode_event
from streams.contract.errors import FreshetError, InputError
from streams.contract.events import FINAL_TIME_MS, Event, Impression, Tick
from streams.contract.manifest import ModelUpdate
from streams.log.event_log import EVENTS, Append, EventLog, open_log
from streams.store.row_store import RowStore, open_row_store

_DRAIN_TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """`num_events` bounds impressions and feedback together; 0 is all there are."""

    num_events: int = 0
    traffic: TrafficConfig = field(default_factory=TrafficConfig)
    num_audited: int = 300

    def __post_init__(self) -> None:
        for name, least in (("num_events", 0), ("num_audited", 1)):
            if getattr(self, name) < least:
                raise InputError(f"must be {least} or more", field=name.removeprefix("num_"),
                                 value=getattr(self, name), remedy="leave it out for all there are")  # fmt: skip


def run_demo(
    stack: Stack, events: Iterator[Event], config: DemoConfig, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Sends the events through the running stack, waits until all is learnt and served, and gives the account."""
    log = open_log(stack.config.log)
    try:
        return _run(stack, log, _Counted(islice(events, config.num_events or None)), config, progress)
    finally:
        log.close()


def _run(
    stack: Stack, log: EventLog, counted: _Counted, config: DemoConfig, progress: Callable[[str], None]
) -> dict[str, Any]:
    started = time.monotonic()
    traffic = Traffic(stack.gateway_url, config.traffic, _every_second(stack, progress), progress)
    sent = asyncio.run(traffic.run(counted))
    progress(f"{sent.requests} requests answered in {time.monotonic() - started:.0f} s; waiting until all is learnt")
    store = open_row_store(stack.config.redis, model=stack.config.model)
    try:
        _wait_until_logged(log, sent, stack)
        _end_stream(log)
        trained = _account_of(stack, stack.child("trainer"), stack.trainer_summary)
        learner = learner_of(stack)
        learnt = None if learner is None else _account_of(stack, learner, stack.recommender_summary)
        updates = list(model_updates(log))
        _wait_until_served(store, updates)
        account = _account(stack, log, store, sent, trained, updates, counted.num_events, config)
        return account if learnt is None else {**account, "recommender": recommender_account(stack, learnt)}
    finally:
        store.close()


class _Counted:
    """Counts what passes."""

    def __init__(self, events: Iterator[Event]) -> None:
        self.num_events = 0
        self._events = events

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event = next(self._events)
        self.num_events += 1
        return event


def _every_second(stack: Stack, progress: Callable[[str], None]) -> Callable[[TrafficResult], None]:
    last = time.monotonic()
    last_requests = 0

    def show(result: TrafficResult) -> None:
        nonlocal last, last_requests
        now = time.monotonic()
        if now - last < 1:
            return
        stack.check()
        rate = (result.requests - last_requests) / (now - last)
        newest = max(result.versions, default=0)
        progress(f"{result.requests} requests, {rate:.0f}/s, {result.feedback} clicks, "
                 f"serving version {newest}, {result.errors} errors")  # fmt: skip
        last, last_requests = now, result.requests

    return show


def _wait_until_logged(log: EventLog, sent: TrafficResult, stack: Stack) -> None:
    """Impressions are logged off the request's path: waits until all answered ones lie in the log."""
    deadline = time.monotonic() + 60
    positions = log.begin_offsets(log.partitions(EVENTS))
    wanted, seen = sent.scored, set[str]()
    while len(seen) < wanted and time.monotonic() < deadline:
        for record in log.read(positions, max_records=2000, timeout_seconds=0.1):
            positions[record.partition] = record.offset + 1
            event = decode_event(record.value)
            if isinstance(event, Impression):
                seen.add(event.event_id)
        stack.check()


def _end_stream(log: EventLog) -> None:
    """A final tick in every partition: windows close, joiner and trainer finish."""
    log.append([
        Append(partition, encode_event(Tick(event_id=f"end-{partition.partition}", event_time_ms=FINAL_TIME_MS,
                                            final=True, ingest_ms=int(1000 * time.time()))))
        for partition in log.partitions(EVENTS)
    ])  # fmt: skip


def _account_of(stack: Stack, learner: Child, path: Path) -> dict[str, Any]:
    """What a learner leaves at `path` when it has come to the stream's end."""
    deadline = time.monotonic() + _DRAIN_TIMEOUT_SECONDS
    while learner.process.poll() is None:
        stack.check()
        if time.monotonic() > deadline:
            raise FreshetError(f"still learning after {_DRAIN_TIMEOUT_SECONDS:.0f} s", field=learner.name,
                               remedy=f"read {learner.log_path}")  # fmt: skip
        time.sleep(0.1)
    learner.check()
    summary: dict[str, Any] = json.loads(path.read_text())
    return summary


def _wait_until_served(store: RowStore, updates: list[ModelUpdate]) -> None:
    deadline = time.monotonic() + 10
    newest = updates[-1].manifest if updates else None
    while newest and newest.version not in store.applied(newest.generation) and time.monotonic() < deadline:
        time.sleep(0.05)


def _account(
    stack: Stack, log: EventLog, store: RowStore, sent: TrafficResult, trained: dict[str, Any],
    updates: list[ModelUpdate], num_events: int, config: DemoConfig,
) -> dict[str, Any]:  # fmt: skip
    examples = count_examples(log)
    generations = {update.manifest.generation for update in updates}
    applied = {version: at for generation in generations for version, at in store.applied(generation).items()}
    learnt_once = trained["examples_trained"] - trained["corrections"]
    latencies = np.array(sent.latencies_ms or [np.nan])
    torn = count_torn(log, store, updates, config.num_audited)
    return {
        "events": num_events,
        "impressions_joined": sent.scored,
        "examples_trained": trained["examples_trained"],
        "corrections": examples.corrections,
        "versions_published": len(updates),
        "versions_refused": trained["versions_refused"],
        "requests_scored": sent.scored,
        "request_errors": sent.errors,
        "first_error": sent.first_error,
        "flags": dict(sent.flags),
        "torn_scores": torn.torn,
        "scores_audited": torn.audited,
        "lost_examples": sent.candidates - examples.distinct + max(0, examples.distinct - learnt_once),
        "duplicate_examples": examples.duplicates + max(0, learnt_once - examples.distinct),
        **{name: trained[name] for name in ("normalized_entropy", "auc", "calibration", "log_loss",
                                            "base_rate_log_loss", "examples_per_second")},
        "window_seconds": stack.config.window_seconds,
        "freshness_seconds": freshness_seconds(updates, applied),
        "score_latency_ms": {"p50": float(np.quantile(latencies, 0.5)), "p99": float(np.quantile(latencies, 0.99))},
        "docs": f"{stack.gateway_url}/docs",
        "console": f"{stack.gateway_url}/",
    }  # fmt: skip


def render_demo(result: dict[str, Any]) -> str:
    """The account as a person reads it."""
    fresh, latency = result["freshness_seconds"], result["score_latency_ms"]
    return "\n".join([
        "",
        f"  traffic     {result['events']} events, {result['requests_scored']} requests scored, "
        f"{result['request_errors']} errors",
        f"  learnt      {result['examples_trained']} examples at {result['examples_per_second']:.0f}/s; "
        f"{result['lost_examples']} lost, {result['duplicate_examples']} doubled, {result['corrections']} corrected",
        f"  quality     normalized entropy {result['normalized_entropy']:.4f}, AUC {result['auc']:.4f}, "
        f"calibration {result['calibration']:.3f}, log loss {result['log_loss']:.4f} "
        f"(base rate {result['base_rate_log_loss']:.4f}); each example predicted before it was learnt",
        f"  versions    {result['versions_published']} published, {result['versions_refused']} refused, "
        f"{result['torn_scores']} torn scores of {result['scores_audited']} audited",
        f"  freshness   from settled label to serving: p50 {fresh['p50']:.2f} s, p99 {fresh['p99']:.2f} s "
        f"(a label settles when its impression's window of {result['window_seconds']:g} s closes; "
        f"the first version took {fresh['start']:.1f} s)",
        f"  latency     p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms, traffic on the same machine",
        *([render_recommender(result["recommender"])] if "recommender" in result else []),
        f"  docs        {result['docs']}   console {result['console']}",
    ])  # fmt: skip

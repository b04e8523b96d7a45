"""Streams of settled outcomes, and what counters must say of them, computed one example at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from streams.contract.examples import ExampleBatch
from streams.contract.schema import Schema, parse_schema
from tests.support.toy_examples import SCHEMA, toy_batch

HALF_LIVES = (10.0, 100.0)
COUNTERS = """
[[counters]]
name = "ad"
key = ["ad"]
half_lives_seconds = [10, 100]
horizon_seconds = 300
[[counters]]
name = "user"
key = ["user"]
half_lives_seconds = [100]
smoothing = 5
horizon_seconds = 300
[[counters]]
name = "user_x_ad"
key = ["user", "ad"]
half_lives_seconds = [10, 100]
horizon_seconds = 300
"""


def counted_schema(counters: str = COUNTERS) -> Schema:
    """The toy schema with counters of ad, user, and both."""
    return parse_schema(SCHEMA + counters)


def settled(batch: ExampleBatch, waits_ms: Sequence[int]) -> ExampleBatch:
    """The batch decided on so long after each example's impression."""
    return replace(batch, decided_time_ms=batch.event_time_ms[batch.request_index] + np.array(waits_ms, dtype=np.int64))


def random_batches(number: int, seed: int, *, longest_wait_ms: int = 60_000) -> list[ExampleBatch]:
    """Batches of examples decided on at random times, some of them corrections, with few users and ads."""
    rng = np.random.default_rng(seed)
    batches = []
    for n in range(number):
        batch = toy_batch(8, start=8 * n, seed=seed)
        waits = rng.integers(0, longest_wait_ms, len(batch))
        batch.request["user"] = rng.integers(0, 3, batch.num_requests)
        batch.candidate["ad"] = rng.integers(0, 5, len(batch))
        correction = rng.random(len(batch)) < 0.1
        batches.append(replace(settled(batch, waits.tolist()), correction=correction))
    return batches


def sums_by_hand(
    batches: Sequence[ExampleBatch], key: Sequence[str], at: tuple[ExampleBatch, int], half_life_seconds: float
) -> tuple[float, float]:
    """(shows, outcomes) that the key of example `at` = (batch, row) had come to before its time."""
    own, now_ms = _keys(at[0], key)[at[1]], int(at[0].event_time_ms[at[0].request_index[at[1]]])
    shows = outcomes = 0.0
    for batch in batches:
        for row, each in enumerate(_keys(batch, key)):
            elapsed_ms = now_ms - int(batch.decided_time_ms[row])
            if each == own and elapsed_ms > 0:
                left = 0.5 ** (elapsed_ms / 1000 / half_life_seconds)
                shows += left * float(batch.weight[row]) * (not batch.correction[row])
                outcomes += left * float(batch.weight[row] * batch.label[row])
    return shows, outcomes


def _keys(batch: ExampleBatch, key: Sequence[str]) -> list[tuple[int, ...]]:
    parts = [batch.candidate[name] if name == "ad" else np.asarray(batch.request[name])[batch.request_index]
             for name in key]  # fmt: skip
    return list(zip(*(np.asarray(part).tolist() for part in parts), strict=True)) if parts else [()] * len(batch)

"""The model `ranker`: batches of scoring requests in, probabilities and their version out.

Triton / in process ──> Scorer.score ──lock──> ServedGeneration (rows, programs, one version)
                                         │
Follower  model-updates ─────────────────┤ applies versions between two batches
Watcher   live pointer, head ────────────┘ swaps generations between two batches
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from serving.scorer.batch import combine, in_passes
from serving.scorer.config import ScorerConfig
from serving.scorer.live import Live
from serving.scorer.resolve import Fetcher, Resolved, resolve
from serving.scorer.served_generation import ServedGeneration
from serving.scorer.stats import ScorerStats
from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.features import FeatureBatch
from streams.contract.wire import (
    BAD_INPUT,
    NOT_READY,
    SCHEMA_MISMATCH,
    STALE_UPDATES,
    Info,
    feature_hash_of,
    is_probe,
    unpack_request,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """probabilities (E,) float32 (none for a request that asks for `info` alone)."""

    probabilities: Array
    info: Info


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one request has no answer; `message` starts with the wire's code of the reason."""

    message: str


Result = Answer | Refusal
_NO_SCORES = np.zeros(0, dtype=np.float32)


class Scorer(Live[ServedGeneration]):
    """Scores with the generation that `activate` gave it. Safe to call from several threads."""

    def __init__(self, config: ScorerConfig, fetcher: Fetcher) -> None:
        super().__init__()
        self._config = config
        self._fetcher = fetcher
        self._stats = ScorerStats()

    def score(self, requests: Sequence[Mapping[str, Array]]) -> list[Result]:
        """One result a request (the tensors of streams/contract/wire.py); a bad request spoils no other."""
        with self.lock:
            served = self._served
            if served is None:
                return [_without_model(tensors) for tensors in requests]
            served.apply_waiting()
            accepted = [_accept(tensors, served) for tensors in requests]
            batches = [batch for batch in accepted if isinstance(batch, FeatureBatch)]
            answers = [answer for few in in_passes(batches) for answer in self._forward(served, few)]
            info = _info(served, self._stale())
            rest = iter(answers)
            return [_result(batch, rest, info) for batch in accepted]

    def info(self) -> Info:
        """The version applied; version 0 before the first."""
        with self.lock:
            return Info() if self._served is None else _info(self._served, self._stale())

    def stats(self) -> ScorerStats:
        """Counts up to now."""
        with self.lock:
            served = self._served
            if served is None:
                return replace(self._stats)
            return replace(
                self._stats,
                version=served.version,
                generation=served.generation.generation,
                num_hot_rows=len(served.rows),
                num_hot_bytes=served.rows.num_bytes,
                num_unknown_ids=served.rows.num_unknown,
            )

    def _forward(self, served: ServedGeneration, batches: Sequence[FeatureBatch]) -> list[Answer]:
        """Each request's probabilities, all made by one version."""
        batch = combine(batches)
        resolved = resolve(served, batch, self._fetcher, self._config.catch_up_timeout_seconds)
        if served.counters is not None:
            batch = served.counters.fill(batch, served.rows.values, resolved.counter_slots)
        probabilities = served.forward(batch, resolved.request_slots, resolved.candidate_slots)
        self._count(len(batches), len(probabilities), resolved)
        info = _info(served, resolved.flags | self._stale(), resolved.num_misses)
        ends = list(accumulate(len(each.request_index) for each in batches))
        return [Answer(probabilities[start:end], info) for start, end in zip([0, *ends], ends, strict=False)]

    def _count(self, num_requests: int, num_candidates: int, resolved: Resolved) -> None:
        self._stats.num_requests += num_requests
        self._stats.num_candidates += num_candidates
        self._stats.num_batches += 1
        self._stats.num_misses += resolved.num_misses
        self._stats.num_defaults += resolved.num_defaults

    def _stale(self) -> int:
        return STALE_UPDATES if self.silent_seconds > self._config.stale_after_seconds else 0


def _info(served: ServedGeneration, flags: int, num_misses: int = 0) -> Info:
    manifest = served.manifest
    return Info(
        manifest.version,
        manifest.generation,
        manifest.newest_ingest_ms,
        manifest.newest_event_time_ms,
        flags,
        num_misses,
    )


def _accept(tensors: Mapping[str, Array], served: ServedGeneration) -> FeatureBatch | Refusal | None:
    """The request's features; None where it asks for `info` alone."""
    if is_probe(tensors):
        return None
    try:
        sent = feature_hash_of(tensors)
        if sent != served.feature_hash:
            return Refusal(f"{SCHEMA_MISMATCH}: generation {served.generation.generation} has the schema "
                           f"{served.generation.feature_hash}; read the live generation's schema again")  # fmt: skip
        return unpack_request(tensors, served.widths)
    except InputError as error:
        return Refusal(f"{BAD_INPUT}: {error}")


def _result(batch: FeatureBatch | Refusal | None, answers: Iterator[Answer], info: Info) -> Result:
    if batch is None:
        return Answer(_NO_SCORES, info)
    return batch if isinstance(batch, Refusal) else next(answers)


def _without_model(tensors: Mapping[str, Array]) -> Result:
    if is_probe(tensors):
        return Answer(_NO_SCORES, Info())
    return Refusal(f"{NOT_READY}: no generation is loaded yet")

"""The model `recommender`: batches of requests in, the best items of each user and their version out.

Triton / in process ──> Recommender.score ──lock──> ServedRecommender (language model, items, users, one version)
                                             │
Follower  recommender-updates ───────────────┤ applies versions between two passes
Watcher   live pointer, head ────────────────┘ swaps generations between two batches

    request ──> user's row, likes ──> history ──> state: computed before, or one forward ──> items ──> best k
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from serving.recommender.config import MAX_USERS, RecommenderConfig
from serving.recommender.pace import Pace
from serving.recommender.ranking import best
from serving.recommender.served_generation import ServedRecommender
from serving.recommender.states import Asks, States, digest_of
from serving.recommender.stats import RecommenderStats
from serving.recommender.users import KnownUser, known_users
from serving.scorer.live import Live
from serving.scorer.resolve import Fetcher
from serving.scorer.scorer import Refusal
from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.recommend_wire import (
    CACHED_STATE,
    LATE,
    STALE_UPDATES,
    UNKNOWN_ITEMS,
    UNKNOWN_USER,
    RankedItem,
    RecommendAnswer,
    RecommendRequest,
    unpack_request,
)
from streams.contract.wire import BAD_INPUT, NOT_READY

Result = RecommendAnswer | Refusal


class Store(Fetcher, Asks, Protocol):
    """What a batch may ask of Redis."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request of a pass: what is known of the user, the history (H,) that counts, what of it goes into the prompt
    (P,), what its state goes by, and what is to be said."""

    request: RecommendRequest
    user: KnownUser
    history: Array
    prompted: Array
    digest: bytes
    flags: tuple[str, ...]


class Recommender(Live[ServedRecommender]):
    """Recommends with the generation that `activate` gave it. Safe to call from several threads."""

    def __init__(self, config: RecommenderConfig, store: Store) -> None:
        super().__init__()
        self._config = config
        self._store = store
        self._states = States(store, config.model, most=config.max_states, seconds=config.state_seconds)
        self._pace = Pace()
        self._stats = RecommenderStats()

    def score(self, requests: Sequence[Mapping[str, Array]]) -> list[Result]:
        """One result a request (the tensors of streams/contract/recommend_wire.py); a bad one spoils no other."""
        accepted = [_accept(tensors) for tensors in requests]
        computed: dict[bytes, Array] = {}
        with self.lock:
            served = self._served
            if served is None:
                return [_without_model(request) for request in accepted]
            served.apply_waiting()
            accepted = self._in_time(accepted)
            ranked = [request for request in accepted if isinstance(request, RecommendRequest) and request.k]
            passes = [ranked[start : start + MAX_USERS] for start in range(0, len(ranked), MAX_USERS)]
            began = time.monotonic()
            rest = iter([answer for few in passes for answer in self._pass(served, few, computed)])
            if ranked:
                self._pace.took(time.monotonic() - began, len(ranked))
            results = [self._result(request, rest, served) for request in accepted]
        self._states.store(computed)
        return results

    def info(self) -> RecommendAnswer:
        """What is served, without items; version 0 before the first."""
        with self.lock:
            return RecommendAnswer(items=[]) if self._served is None else self._answer(self._served, [], ())

    def stats(self) -> RecommenderStats:
        """Counts up to now."""
        with self.lock:
            served = self._served
            if served is None:
                return replace(self._stats)
            return replace(
                self._stats,
                version=served.version,
                generation=served.generation.generation,
                num_items=len(served.catalogue),
                num_hot_rows=len(served.rows),
            )

    def _in_time(self, accepted: Sequence[RecommendRequest | Refusal]) -> list[RecommendRequest | Refusal]:
        """Those that can be answered in time; refusals in the place of the others."""
        asked = [place for place, each in enumerate(accepted) if isinstance(each, RecommendRequest) and each.k]
        taken = self._pace.in_time([_answer_by(accepted[place]) for place in asked], time.time_ns() // 1_000_000)
        results = list(accepted)
        for place, is_taken in zip(asked, taken.tolist(), strict=True):
            if not is_taken:
                results[place] = _TOO_LATE
                self._stats.num_late += 1
        return results

    def _pass(
        self, served: ServedRecommender, requests: Sequence[RecommendRequest], computed: dict[bytes, Array]
    ) -> list[RecommendAnswer]:
        """Each request's answer, all made by one version; new states go into `computed`."""
        timeout_seconds = self._config.catch_up_timeout_seconds
        users, num_asked = known_users(served, requests, self._store, timeout_seconds)
        # No version is applied from here on.
        asked = [self._asked(served, request, user) for request, user in zip(requests, users, strict=True)]
        states, cached = self._states_of(served, asked, computed)
        logits = served.language_model.logits(states, len(served.catalogue)).div_(served.temperature)
        excluded = [
            np.concatenate([each.history, served.catalogue.numbers_of(each.request.exclude)]) for each in asked
        ]  # fmt: skip
        lists = best(logits, excluded, max(request.k for request in requests))
        self._count(asked, num_asked, len(cached))
        return [
            self._answer(
                served,
                _items(served, each.request, numbers, scores),
                (*each.flags, CACHED_STATE) if each.digest in cached else each.flags,
            )
            for each, (numbers, scores) in zip(asked, lists, strict=True)
        ]

    def _asked(self, served: ServedRecommender, request: RecommendRequest, user: KnownUser) -> _Asked:
        flags = list(user.flags)
        history = user.likes
        if request.history is not None:
            history = served.catalogue.numbers_of(request.history)
            if len(history) < len(request.history):
                flags.append(UNKNOWN_ITEMS)
        needs_row = served.language_model.names_users or request.history is None
        if needs_row and user.row is None and not len(user.likes) and not user.flags:
            flags.append(UNKNOWN_USER)
        prompted = history[-self._config.max_likes :]  # all of it where that is 0
        digest = digest_of(served.manifest, user, prompted)
        return _Asked(request, user, history, prompted, digest, tuple(flags))

    def _states_of(
        self, served: ServedRecommender, asked: Sequence[_Asked], computed: dict[bytes, Array]
    ) -> tuple[Tensor, set[bytes]]:
        """States (B, q), and the digests of those that were computed before."""
        found = self._states.find([each.digest for each in asked], served.language_model.state_width)
        cached = set(found)
        fresh = list({each.digest: each for each in asked if each.digest not in found}.values())
        if fresh:
            states = served.language_model.states(
                [each.user.row for each in fresh],
                np.array([each.user.key for each in fresh], dtype=np.int64),
                [each.prompted for each in fresh],
            )
            new = dict(zip([each.digest for each in fresh], states.cpu().numpy(), strict=True))
            self._states.hold(new)
            computed.update(new)
            found |= new
        stacked = torch.from_numpy(np.stack([found[each.digest] for each in asked]))
        return stacked.to(self._config.device), cached

    def _result(
        self, request: RecommendRequest | Refusal, answers: Iterator[RecommendAnswer], served: ServedRecommender
    ) -> Result:
        if isinstance(request, Refusal):
            return request
        return next(answers) if request.k else self._answer(served, [], ())

    def _answer(self, served: ServedRecommender, items: list[RankedItem], flags: tuple[str, ...]) -> RecommendAnswer:
        manifest = served.manifest
        is_stale = self.silent_seconds > self._config.stale_after_seconds and STALE_UPDATES not in flags
        return RecommendAnswer(
            items=items,
            version=manifest.version,
            generation=manifest.generation,
            newest_ingest_ms=manifest.newest_ingest_ms,
            newest_event_time_ms=manifest.newest_event_time_ms,
            num_items=len(served.catalogue),
            flags=[*flags, STALE_UPDATES] if is_stale else list(flags),
        )

    def _count(self, asked: Sequence[_Asked], num_asked: int, num_cached: int) -> None:
        self._stats.num_requests += len(asked)
        self._stats.num_passes += 1
        self._stats.num_misses += num_asked
        self._stats.num_cached += num_cached
        self._stats.num_unknown_users += sum(UNKNOWN_USER in each.flags for each in asked)


_TOO_LATE = Refusal(f"{LATE}: no answer would have come in time")


def _answer_by(request: RecommendRequest | Refusal) -> int:
    return request.answer_by_ms if isinstance(request, RecommendRequest) else 0


def _accept(tensors: Mapping[str, Array]) -> RecommendRequest | Refusal:
    try:
        return unpack_request(tensors)
    except InputError as error:
        return Refusal(f"{BAD_INPUT}: {error}")


def _without_model(request: RecommendRequest | Refusal) -> Result:
    if isinstance(request, Refusal):
        return request
    return Refusal(f"{NOT_READY}: no generation is loaded yet") if request.k else RecommendAnswer(items=[])


def _items(served: ServedRecommender, request: RecommendRequest, numbers: Array, scores: Array) -> list[RankedItem]:
    """The first k of a list."""
    ranked = []
    for number, score in zip(numbers[: request.k].tolist(), scores[: request.k].tolist(), strict=True):
        item = served.catalogue[number]
        ranked.append(
            RankedItem(item_id=item.name, score=score, features=item.features if request.with_features else None)
        )
    return ranked

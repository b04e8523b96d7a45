"""What recommends: each arm puts the k best items in order, by a deadline.

generative   the language model, over all items it knows
ctr          items seen lately (candidate_pool.py), ranked by the click model, or by popularity where that is away
blend        what the language model retrieves, ranked anew by both (blend.py)
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from serving.gateway.blend import BlendConfig, blended
from serving.gateway.candidate_pool import CandidatePool
from serving.gateway.deadline_shares import DeadlineShares
from serving.gateway.item_ranker import Features, ItemRanker, columns_of
from serving.gateway.rankers import DEADLINE, RANKER_UNAVAILABLE, Ranked, RankRequest
from serving.gateway.recommend_bodies import Answerer
from serving.gateway.recommender import Recommender
from serving.gateway.seen_items import SeenItems
from streams.contract.columns import Array
from streams.contract.errors import UnavailableError
from streams.contract.events import Value
from streams.contract.recommend_wire import RankedItem, RecommendAnswer, RecommendRequest

NO_CANDIDATES = "no_candidates"
"""No item is known that may be recommended."""
HISTORY_UNAVAILABLE = "history_unavailable"
"""What the unit likes already could not be read, or not all of it, so it may be among the items."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """`k` items for one unit; those liked before and those in `exclude` are not wanted."""

    unit_id: str
    k: int
    history: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    user: Mapping[str, Value] = field(default_factory=dict)
    context: Mapping[str, Value] = field(default_factory=dict)
    event_time_ms: int = 0

    def without(self) -> frozenset[str]:
        """The items that must not be answered."""
        return frozenset(self.exclude).union(self.history or ())

    def ranking(self, items: list[str]) -> RankRequest:
        """The same unit with these candidates, still without their features."""
        return RankRequest(unit_id=self.unit_id, ad_ids=items, user=self.user, context=self.context,
                           event_time_ms=self.event_time_ms)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommended:
    """Items, best first, with scores (K,) float32; `columns` (K,) are their raw features where known."""

    items: list[str]
    scores: Array
    answered_by: Answerer
    columns: Mapping[str, list[Any]] = field(default_factory=dict)
    probabilities: Array | None = None
    """(K,) of a click, where the click model or popularity gave one."""
    version: int = 0
    generation: int = 0
    newest_ingest_ms: int = 0
    recommender_version: int | None = None
    recommender_generation: int | None = None
    flags: tuple[str, ...] = ()


class Arm(Protocol):
    """One way to recommend. Does not change the request, and learns nothing from it."""

    async def recommend(self, wanted: Wanted, deadline: float) -> Recommended:
        """Raises InputError where the request does not fit, TimeoutError past the deadline, UnavailableError."""


class GenerativeArm:
    """The language model's items in its order; scores are logarithms of their probability of being the next like."""

    def __init__(self, recommender: Recommender, pool: CandidatePool, shares: DeadlineShares) -> None:
        self._recommender = recommender
        self._pool = pool
        self._shares = shares

    async def recommend(self, wanted: Wanted, deadline: float) -> Recommended:
        return self.as_it_is(await self.retrieve(wanted, wanted.k, deadline), wanted.k)

    async def retrieve(self, wanted: Wanted, number: int, deadline: float) -> RecommendAnswer:
        """The `number` items that the recommender puts first."""
        request = RecommendRequest(
            unit_id=wanted.unit_id,
            k=number,
            history=None if wanted.history is None else list(wanted.history),
            exclude=list(wanted.exclude),
            with_features=True,
        )
        own = self._shares.deadline("recommender", deadline, time.monotonic())
        return await self._recommender.recommend(request, own)

    def as_it_is(self, answer: RecommendAnswer, k: int, *flags: str) -> Recommended:
        """The first `k` of the answer, in its order."""
        kept = answer.items[:k]
        items = [item.item_id for item in kept]
        return Recommended(
            items=items,
            scores=_log_probabilities(kept),
            answered_by="generative",
            columns=columns_of(items, self.features(kept), None),
            version=answer.version,
            generation=answer.generation,
            newest_ingest_ms=answer.newest_ingest_ms,
            recommender_version=answer.version,
            recommender_generation=answer.generation,
            flags=(*answer.flags, *(() if kept else (NO_CANDIDATES,)), *flags),
        )

    def features(self, items: Sequence[RankedItem]) -> list[Features]:
        """Raw features of the items: those of the newest impression that the gateway saw, else the recommender's."""
        lately = self._pool.features([item.item_id for item in items])
        return [known or item.features or {} for known, item in zip(lately, items, strict=True)]


class CtrArm:
    """Items seen lately in the order of their click probabilities, without those that the unit likes already.

    What it likes is what the request says; else what the stream says, as far as that can be read in time.
    """

    def __init__(self, pool: CandidatePool, ranker: ItemRanker, seen: SeenItems, *, num_candidates: int) -> None:
        self._pool = pool
        self._ranker = ranker
        self._seen = seen
        self._num_candidates = num_candidates

    async def recommend(self, wanted: Wanted, deadline: float) -> Recommended:
        without, flags = await self._without(wanted, deadline)
        items = self._pool.candidates(max(self._num_candidates, wanted.k), without)
        if not items:
            return Recommended(items=[], scores=np.zeros(0, dtype=np.float32), answered_by="popularity",
                               flags=(NO_CANDIDATES,))  # fmt: skip
        ranked, columns = await self._ranker.rank(wanted.ranking(items), self._pool.features(items), deadline)
        order = _best(ranked.scores, wanted.k)
        return Recommended(
            items=[items[row] for row in order],
            scores=ranked.scores[order],
            answered_by="ctr" if ranked.version else "popularity",
            columns=_picked(columns, order),
            probabilities=ranked.scores[order],
            version=ranked.version,
            generation=ranked.generation,
            newest_ingest_ms=ranked.newest_ingest_ms,
            flags=(*ranked.flags, *flags),
        )

    async def _without(self, wanted: Wanted, deadline: float) -> tuple[frozenset[str], tuple[str, ...]]:
        """The items that must not be answered, and what is to be said of them."""
        if wanted.history is not None:
            return wanted.without(), ()
        seen = await self._seen.of(wanted.unit_id, deadline)
        return wanted.without() | seen.items, () if seen.is_whole else (HISTORY_UNAVAILABLE,)


class BlendArm:
    """What the language model retrieves, in the order of both models' opinions.

    Where the click model is late or away, the language model's order stands, flagged.
    """

    def __init__(self, generative: GenerativeArm, ranker: ItemRanker, config: BlendConfig) -> None:
        self._generative = generative
        self._ranker = ranker
        self._config = config

    async def recommend(self, wanted: Wanted, deadline: float) -> Recommended:
        number = max(self._config.num_retrieved, wanted.k)
        answer = await self._generative.retrieve(wanted, number, deadline)
        items = [item.item_id for item in answer.items]
        if not items:
            return self._generative.as_it_is(answer, wanted.k)
        try:
            ranked, columns = await self._ranker.rank(
                wanted.ranking(items), self._generative.features(answer.items), deadline
            )
        except TimeoutError:
            return self._generative.as_it_is(answer, wanted.k, DEADLINE)
        except UnavailableError:
            return self._generative.as_it_is(answer, wanted.k, RANKER_UNAVAILABLE)
        return self._blended(answer, ranked, columns, wanted.k)

    def _blended(
        self, answer: RecommendAnswer, ranked: Ranked, columns: Mapping[str, list[Any]], k: int
    ) -> Recommended:
        scores = blended(self._config, _log_probabilities(answer.items), ranked.scores)
        order = _best(scores, k)
        return Recommended(
            items=[answer.items[row].item_id for row in order],
            scores=scores[order],
            answered_by="blend",
            columns=_picked(columns, order),
            probabilities=ranked.scores[order],
            version=ranked.version,
            generation=ranked.generation,
            newest_ingest_ms=min(ranked.newest_ingest_ms, answer.newest_ingest_ms),
            recommender_version=answer.version,
            recommender_generation=answer.generation,
            flags=(*answer.flags, *(flag for flag in ranked.flags if flag not in answer.flags)),
        )


def _log_probabilities(items: Sequence[RankedItem]) -> Array:
    return np.array([item.score for item in items], dtype=np.float32)


def _best(scores: Array, k: int) -> Array:
    """The rows (K,) of the k best, best first; the earlier row first where two are alike."""
    order: Array = np.argsort(-scores, kind="stable")[:k]
    return order


def _picked(columns: Mapping[str, list[Any]], rows: Array) -> dict[str, list[Any]]:
    return {name: [column[row] for row in rows] for name, column in columns.items()}

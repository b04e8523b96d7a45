"""The arms together, and who answers where one is late or away: generative, blend ──> ctr ──> popularity."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from serving.gateway.arms import Arm, BlendArm, CtrArm, GenerativeArm, Recommended, Wanted
from serving.gateway.blend import BlendConfig
from serving.gateway.candidate_pool import CandidatePool
from serving.gateway.deadline_shares import DeadlineShares
from serving.gateway.item_ranker import ItemRanker
from serving.gateway.live_model import LiveModels
from serving.gateway.rankers import CtrRanker, FallbackRanker
from serving.gateway.recommend_bodies import ArmName
from serving.gateway.recommender import Recommender
from serving.gateway.seen_items import SeenItems
from streams.contract.errors import InputError, UnavailableError
from streams.contract.wire import MAX_CANDIDATES

RECOMMENDER_DEADLINE = "recommender_deadline"
RECOMMENDER_UNAVAILABLE = "recommender_unavailable"


@dataclass(frozen=True, kw_only=True, slots=True)
class RecommendConfig:
    """How many items the arms look at, and how two opinions become one."""

    num_candidates: int = 200
    """Items that the arm `ctr` ranks."""
    blend: BlendConfig = field(default_factory=BlendConfig)

    def __post_init__(self) -> None:
        if not 1 <= self.num_candidates <= MAX_CANDIDATES:
            raise InputError(f"must be 1 to {MAX_CANDIDATES}", field="recommend.num_candidates",
                             value=self.num_candidates)  # fmt: skip


class Recommending:
    """Answers for any arm, one or two at once. Never late by more than the arms are, never away."""

    def __init__(
        self, config: RecommendConfig, recommender: Recommender, pool: CandidatePool, seen: SeenItems, *,
        ctr: CtrRanker, fallback: FallbackRanker, models: LiveModels, shares: DeadlineShares,
    ) -> None:  # fmt: skip
        generative = GenerativeArm(recommender, pool, shares)
        self._items = ItemRanker(ctr, models)
        self._last = CtrArm(pool, ItemRanker(fallback, models), seen, num_candidates=config.num_candidates)
        blend = BlendArm(generative, self._items, config.blend)
        self._arms: dict[ArmName, Arm] = {"generative": generative, "blend": blend, "ctr": self._last}

    async def recommend(
        self, arm: ArmName, also: ArmName | None, wanted: Wanted, deadline: float
    ) -> tuple[Recommended, Recommended | None]:
        """The first arm's answer, and the second's where one is asked for. Raises InputError where it does not fit."""
        self._items.check(wanted.user, wanted.context)
        if also is None:
            return await self._answer(arm, wanted, deadline), None
        first, second = await asyncio.gather(self._answer(arm, wanted, deadline), self._answer(also, wanted, deadline))
        return first, second

    async def _answer(self, name: ArmName, wanted: Wanted, deadline: float) -> Recommended:
        try:
            return await self._arms[name].recommend(wanted, deadline)
        except TimeoutError:
            flag = RECOMMENDER_DEADLINE
        except UnavailableError:
            flag = RECOMMENDER_UNAVAILABLE
        recommended = await self._last.recommend(wanted, deadline)
        return replace(recommended, flags=(*recommended.flags, flag))

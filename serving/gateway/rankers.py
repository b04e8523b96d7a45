"""Rankers: candidates in, scores out, by a deadline.

CtrRanker          the model's probabilities, from Triton or from the scorer in process
PopularityRanker   decayed click rates (serving/gateway/popularity.py)
FallbackRanker     the first, and the second where the first is away or late; says so in its flags
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from serving.gateway.deadline_shares import DeadlineShares
from serving.gateway.live_model import LiveModels, ServedModel
from serving.gateway.triton_client import RefusalError
from streams.contract.columns import Array
from streams.contract.errors import InputError, UnavailableError
from streams.contract.events import Value
from streams.contract.wire import BAD_INPUT, NOT_READY, SCHEMA_MISMATCH, info_from, pack_probe, pack_request

RANKER_UNAVAILABLE = "ranker_unavailable"
DEADLINE = "deadline"
_PROBE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RankRequest:
    """One unit and E candidates; `candidates` are columns of E raw values, `ad_ids` (E,) names them."""

    unit_id: str
    ad_ids: list[str]
    user: Mapping[str, Value] = field(default_factory=dict)
    context: Mapping[str, Value] = field(default_factory=dict)
    candidates: Mapping[str, list[Any]] = field(default_factory=dict)
    arm: str = "default"
    event_time_ms: int = 0
    """On the data's clock; 0: now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """scores (E,) float32, in the candidates' order; version 0 where no model made them."""

    scores: Array
    version: int = 0
    generation: int = 0
    newest_ingest_ms: int = 0
    flags: tuple[str, ...] = ()


class Ranker(Protocol):
    """Scores candidates. Does not change the request, and learns nothing from it."""

    async def rank(self, request: RankRequest, deadline: float) -> Ranked:
        """The scores. `deadline` is in `time.monotonic()` seconds.

        Raises InputError where the request does not fit the model, TimeoutError past the deadline,
        UnavailableError where the ranker cannot answer now.
        """

    async def missing(self) -> list[str]:
        """What it lacks to answer; empty when it is ready."""


class Scorer(Protocol):
    """The model `ranker` behind its wire format (streams/contract/wire.py): Triton, or the scorer in process."""

    async def infer(self, tensors: Mapping[str, Array], deadline: float) -> Mapping[str, Array]:
        """Raises RefusalError, TimeoutError, UnavailableError."""

    async def close(self) -> None:
        """Frees what it holds."""


class CtrRanker:
    """Click probabilities of the live model, in its share of the time."""

    def __init__(self, scorer: Scorer, models: LiveModels, shares: DeadlineShares | None = None) -> None:
        self._scorer = scorer
        self._models = models
        self._shares = shares or DeadlineShares()

    async def rank(self, request: RankRequest, deadline: float) -> Ranked:
        model = self._models.current()
        deadline = self._shares.deadline("click_model", deadline, time.monotonic())
        try:
            return await self._infer(model, request, deadline)
        except RefusalError as refusal:
            if not refusal.reason.startswith(SCHEMA_MISMATCH):
                raise
            return await self._after_mismatch(model, request, deadline, refusal)

    async def missing(self) -> list[str]:
        missing = [] if self._models.known() else ["model: no generation is live"]
        try:
            outputs = await self._scorer.infer(pack_probe(), time.monotonic() + _PROBE_SECONDS)
            loaded = info_from(outputs["info"]).version > 0
        except (UnavailableError, TimeoutError) as error:
            return [*missing, f"ranker: {error}"]
        return missing if loaded else [*missing, f"ranker: {NOT_READY}, no version is loaded"]

    async def _after_mismatch(
        self, tried: ServedModel, request: RankRequest, deadline: float, refusal: RefusalError
    ) -> Ranked:
        """While the live generation changes, gateway and scorer may briefly hold different schemas."""
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            await self._models.refresh()
        # The one that was tried comes last, for the scorer may have changed over to it meanwhile.
        for model in sorted(self._models.known(), key=lambda each: each.feature_hash == tried.feature_hash):
            try:
                return await self._infer(model, request, deadline)
            except RefusalError as error:
                refusal = error
        raise refusal

    async def _infer(self, model: ServedModel, request: RankRequest, deadline: float) -> Ranked:
        batch = model.transform(request.user, request.context, request.candidates, len(request.ad_ids))
        if request.event_time_ms:
            batch = replace(batch, event_time_ms=np.array([request.event_time_ms], dtype=np.int64))
        try:
            outputs = await self._scorer.infer(pack_request(batch, model.feature_hash), deadline)
        except RefusalError as refusal:
            if refusal.reason.startswith(BAD_INPUT):
                raise InputError(refusal.reason, remedy="see the schema of the live generation") from refusal
            raise
        probability, info = outputs.get("probability"), outputs.get("info")
        if probability is None or info is None or info.size != 6 or probability.size != len(request.ad_ids):
            raise UnavailableError("the ranker's answer does not fit the request", field="ranker",
                                   remedy="see that gateway and ranker are of the same release")  # fmt: skip
        origin = info_from(info)
        return Ranked(
            scores=probability.reshape(-1),
            version=origin.version,
            generation=origin.generation,
            newest_ingest_ms=origin.newest_ingest_ms,
            flags=tuple(origin.flag_names) if origin.flags else (),
        )


class FallbackRanker:
    """Degrades instead of failing: the second ranker answers, flagged, where the first is away or late."""

    def __init__(self, first: Ranker, second: Ranker) -> None:
        self._first = first
        self._second = second

    async def rank(self, request: RankRequest, deadline: float) -> Ranked:
        try:
            return await self._first.rank(request, deadline)
        except TimeoutError:
            flag = DEADLINE
        except UnavailableError:
            flag = RANKER_UNAVAILABLE
        ranked = await self._second.rank(request, deadline)
        return replace(ranked, flags=(*ranked.flags, flag))

    async def missing(self) -> list[str]:
        return await self._first.missing()

"""The model `recommender` behind its wire format (streams/contract/recommend_wire.py), as the gateway asks it."""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from serving.gateway.rankers import Scorer
from serving.gateway.triton_client import RefusalError
from streams.contract.columns import Array
from streams.contract.errors import FormatError, InputError, UnavailableError
from streams.contract.recommend_wire import LATE, RecommendAnswer, RecommendRequest, pack_recommend, unpack_answer
from streams.contract.wire import BAD_INPUT, NOT_READY

_PROBE_SECONDS = 1.0
_PROBE = RecommendRequest(unit_id="", k=0)


class Recommender:
    """Asks the recommender over Triton, or the one in this process."""

    def __init__(self, model: Scorer) -> None:
        self._model = model

    async def recommend(self, request: RecommendRequest, deadline: float) -> RecommendAnswer:
        """Items, best first. `deadline` is in `time.monotonic()` seconds.

        Raises InputError where the request is refused, TimeoutError past the deadline, UnavailableError where
        the recommender is away or has no version yet.
        """
        answer = await self._ask(request, deadline)
        if not answer.version:
            raise UnavailableError(f"{NOT_READY}, no version is loaded", field="recommender",
                                   remedy="publish one: `freshet recommender learn` does")  # fmt: skip
        return answer

    async def missing(self) -> list[str]:
        """What it lacks to answer; empty when it is ready."""
        try:
            answer = await self._ask(_PROBE, time.monotonic() + _PROBE_SECONDS)
        except (UnavailableError, TimeoutError, InputError) as error:
            return [f"recommender: {error}"]
        return [] if answer.version else [f"recommender: {NOT_READY}, no version is loaded"]

    async def close(self) -> None:
        """Frees what it holds."""
        await self._model.close()

    async def _ask(self, request: RecommendRequest, deadline: float) -> RecommendAnswer:
        by_ms = round(time.time() * 1000 + 1000 * (deadline - time.monotonic()))
        timed = msgspec.structs.replace(request, answer_by_ms=by_ms)
        try:
            return unpack_answer(await self._model.infer({"request": pack_recommend(timed)}, deadline))
        except RefusalError as refusal:
            if refusal.reason.startswith(LATE):
                raise TimeoutError(refusal.reason) from refusal
            if refusal.reason.startswith(BAD_INPUT):
                raise InputError(refusal.reason, remedy="see POST /v1/recommend in /docs") from refusal
            raise
        except FormatError as error:
            raise UnavailableError(error.message, field=error.field, remedy=error.remedy) from error


class Absent:
    """The recommender of a gateway that scores in process and was started without one."""

    async def infer(self, tensors: Mapping[str, Array], deadline: float) -> Mapping[str, Array]:
        """Raises UnavailableError."""
        raise UnavailableError("none runs in this gateway's process", field="recommender",
                               remedy="start the gateway with --recommender, or give it a Triton")  # fmt: skip

    async def close(self) -> None:
        """There is nothing to free."""

"""The scorer in this process, for machines without a Triton: the same model class behind the same protocol."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from serving.gateway.triton_client import RefusalError
from serving.scorer.scorer import Refusal
from serving.scorer.service import ScorerService
from streams.contract.columns import Array

_REFUSED_STATUS = 500


class InProcessScorer:
    """Scores in one thread of its own, one request after the other."""

    def __init__(self, service: ScorerService) -> None:
        self._service = service
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scorer")

    async def infer(self, tensors: Mapping[str, Array], deadline: float) -> Mapping[str, Array]:
        """The output tensors. Raises RefusalError, TimeoutError past `deadline` (`time.monotonic()` seconds)."""
        scoring = asyncio.get_running_loop().run_in_executor(self._thread, self._service.score, [tensors])
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            (result,) = await scoring
        if isinstance(result, Refusal):
            raise RefusalError(result.message, status=_REFUSED_STATUS)
        return {"probability": result.probabilities, "info": result.info.as_array()}

    async def close(self) -> None:
        """Ends the scorer's threads."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._service.close()

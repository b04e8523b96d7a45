"""The scorer without a server: the same tensors, answered by a thread of this process.

For machines on which Triton does not run. Requests are scored one after the other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from serving.scorer.scorer import Answer, Refusal
from serving.scorer.service import ScorerService
from serving.triton_client import RefusalError
from streams.contract.columns import Array

_LOG = logging.getLogger(__name__)
_REFUSED = 400


class InProcessRanker:
    """A `ScorerService` behind the interface of the Triton client. Owns the service."""

    def __init__(self, service: ScorerService) -> None:
        self._service = service
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scorer")
        _LOG.warning("the ranker runs in this process, without Triton: no dynamic batching, one processor")

    async def infer(self, tensors: Mapping[str, Array], deadline: float) -> dict[str, Array]:
        """The output tensors. `deadline` is in `time.monotonic()` seconds.

        Raises TimeoutError past the deadline, RefusalError where the model refuses.
        """
        async with asyncio.timeout(deadline - time.monotonic()):
            results = await asyncio.get_running_loop().run_in_executor(self._thread, self._service.score, [tensors])
        result = results[0]
        if isinstance(result, Refusal):
            raise RefusalError(result.message, status=_REFUSED)
        return _outputs(result)

    async def ready(self) -> bool:
        """Whether a version is loaded."""
        return self._service.info().version > 0

    async def close(self) -> None:
        """Stops the scorer."""
        self._thread.shutdown()
        await asyncio.to_thread(self._service.close)


def _outputs(answer: Answer) -> dict[str, Array]:
    probabilities = answer.probabilities if answer.probabilities.size else np.zeros(1, dtype=np.float32)
    return {"probability": probabilities.reshape(1, -1), "info": answer.info.as_array()}

"""A served model in this process, for machines without a Triton: the same model class behind the same protocol."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from serving.gateway.triton_client import RefusalError
from serving.scorer.scorer import Refusal
from streams.contract.columns import Array

_REFUSED_STATUS = 500
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Service(Protocol[R_co]):
    """What answers."""

    def score(self, requests: Sequence[Mapping[str, Array]]) -> Sequence[R_co | Refusal]:
        """One result a request."""

    def close(self) -> None:
        """Ends its threads and frees its connections."""


class InProcessModel(ABC, Generic[R]):
    """Answers in one thread of its own, one request after the other."""

    def __init__(self, service: Service[R]) -> None:
        self._service = service
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=type(self).__name__)

    @abstractmethod
    def outputs(self, result: R) -> Mapping[str, Array]:
        """The output tensors of a result."""

    async def infer(self, tensors: Mapping[str, Array], deadline: float) -> Mapping[str, Array]:
        """The output tensors. Raises RefusalError, TimeoutError past `deadline` (`time.monotonic()` seconds)."""
        answering = asyncio.get_running_loop().run_in_executor(self._thread, self._service.score, [tensors])
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            (result,) = await answering
        if isinstance(result, Refusal):
            raise RefusalError(result.message, status=_REFUSED_STATUS)
        return self.outputs(result)

    async def close(self) -> None:
        """Ends the model's threads."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._service.close()

"""A request whose kept connection is silent is sent once more, on a fresh one; the first answer counts.

A kept connection may be dead without anybody having said so, or belong to a thread of the server's that is held up
(Triton 2.51 while it loads a model), where a new one is answered at once. For requests that may be answered twice.
(Dean and Barroso, The tail at scale, CACM 56(2), 2013: hedged requests.)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from serving.gateway.http_connection import Answer, HttpConnection
from streams.contract.errors import InputError

Outcome = Literal["won", "lost"]
"""The fresh connection answered first; the kept one did, or neither in time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HedgeConfig:
    """When a request is sent once more, and how many may be at once."""

    share: float = 0.2
    """Of the time that the request has: so long may its kept connection be silent."""
    max_in_flight: int = 8
    """Few, so that a server that is slow with everything is not asked for everything twice."""

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise InputError("must be above 0 and below 1", field="hedge.share", value=self.share)
        if self.max_in_flight < 0:
            raise InputError("must be 0 or more", field="hedge.max_in_flight", value=self.max_in_flight,
                             remedy="use 0 to send nothing once more")  # fmt: skip


class Hedges:
    """The second tries of one client, each counted by its outcome. For one event loop."""

    def __init__(self, config: HedgeConfig, count: Callable[[Outcome], None]) -> None:
        self._config = config
        self._count = count
        self._in_flight = 0

    async def exchange(
        self, kept: HttpConnection, request: bytes, deadline: float, on_fresh: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """The first answer. Raises as `kept.exchange`; as `on_fresh` where `kept` was closed while both were asked."""
        second: list[asyncio.Task[Answer]] = []

        def send_again() -> None:
            if kept.is_silent and self._in_flight < self._config.max_in_flight:
                self._in_flight += 1
                second.append(asyncio.create_task(_instead(kept, on_fresh)))

        patience = max(0.0, self._config.share * (deadline - time.monotonic()))
        timer = asyncio.get_running_loop().call_later(patience, send_again)
        outcome: Outcome = "lost"
        try:
            return await kept.exchange(request, deadline)
        except ConnectionResetError:
            if not second:
                raise
            answer = await second[0]
            outcome = "won"
            return answer
        finally:
            timer.cancel()
            for task in second:
                self._end(task, outcome)

    def _end(self, task: asyncio.Task[Answer], outcome: Outcome) -> None:
        task.cancel()  # One that failed is by this no news to the event loop either.
        self._in_flight -= 1
        self._count(outcome)


async def _instead(kept: HttpConnection, on_fresh: Callable[[], Awaitable[Answer]]) -> Answer:
    """The fresh connection's answer; closes the kept one, by which its request learns that there is another."""
    answer = await on_fresh()
    kept.close()
    return answer

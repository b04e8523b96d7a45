"""Traffic waits for a first version: once it has given enough to learn one from, it pauses until that one serves.

    requests answered by popularity ──enough──> pause ──a version serves──> all that follows is the model's
                         ^                        │
                         └───── as many again ────┘  where none comes, say because the gate wants more

All pauses together are bounded: where nothing ever serves, the traffic goes on without.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from streams.contract.errors import InputError

_POLL_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstVersionConfig:
    """How much traffic comes before a pause, and how long one pause and all of them may be."""

    candidates: int = 2000
    patience_seconds: float = 6.0
    longest_seconds: float = 30.0

    def __post_init__(self) -> None:
        for name in ("candidates", "patience_seconds", "longest_seconds"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError("must be above 0", field=name, value=getattr(self, name))


class FirstVersion:
    """The pauses of one run; `paused_seconds` is how long they have been."""

    def __init__(self, url: str, config: FirstVersionConfig, say: Callable[[str], None]) -> None:
        self.paused_seconds = 0.0
        self._url = url
        self._config = config
        self._say = say
        self._enough = config.candidates
        self._is_over = False

    async def wait(self, session: aiohttp.ClientSession, candidates: int, on_wait: Callable[[], None]) -> None:
        """Returns at once before `candidates` shown are enough, and for ever after a version has served.

        Otherwise returns when one serves, or patience ends; calls `on_wait` over and over meanwhile.
        """
        if self._is_over or candidates < self._enough:
            return
        self._enough = candidates + self._config.candidates
        left = self._config.longest_seconds - self.paused_seconds
        began = time.monotonic()
        while not await self._serves(session) and time.monotonic() - began < min(self._config.patience_seconds, left):
            on_wait()
            await asyncio.sleep(_POLL_SECONDS)
        self.paused_seconds += time.monotonic() - began
        self._tell(candidates, await self._serves(session))

    def _tell(self, candidates: int, serves: bool) -> None:
        waited = f"paused for {self.paused_seconds:.1f} s after {candidates} candidates"
        if serves:
            self._say(f"{waited}: a first version serves")
        elif self.paused_seconds >= self._config.longest_seconds:
            self._say(f"{waited}: no version serves, and the traffic goes on without")
        else:
            self._say(f"{waited}: no version serves yet, and more examples follow")
            return
        self._is_over = True

    async def _serves(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"{self._url}/readyz") as answer:
                await answer.read()
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

"""A recorded log as live traffic: requests to score, then the feedback that came of them.

The events keep their order; their times are the wall clock's, as live traffic has it. Feedback
is sent when its turn comes in the log's own time order, never before its request was answered.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

from freshet.first_version import FirstVersion, FirstVersionConfig
from streams.contract.errors import InputError
from streams.contract.events import Event, Feedback, Impression

_FEEDBACK_BATCH = 100
_FEEDBACK_WAIT_SECONDS = 0.02


@dataclass
class TrafficResult:
    """What the traffic's own side saw; `errors` are requests and batches of feedback without the answer they want."""

    requests: int = 0
    errors: int = 0
    first_error: str = ""
    feedback: int = 0
    candidates: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    versions: Counter[int] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)

    @property
    def scored(self) -> int:
        """Requests that were answered with scores."""
        return len(self.latencies_ms)


@dataclass(frozen=True, kw_only=True)
class TrafficConfig:
    """How hard to press: requests in flight at most, and requests a second at most (0: no limit)."""

    clients: int = 8
    rate_per_second: float = 0.0
    first_version: FirstVersionConfig | None = None
    """When to pause until a first version serves; None: never."""

    def __post_init__(self) -> None:
        if self.clients < 1:
            raise InputError("must be 1 or more", field="clients", value=self.clients, remedy="leave it out for 8")
        if not 0 <= self.rate_per_second < float("inf"):
            raise InputError("must be 0 or more", field="rate", value=self.rate_per_second,
                             remedy="give requests a second, or 0 for no limit")  # fmt: skip


class Traffic:
    """Sends events through a gateway and keeps the account."""

    def __init__(
        self,
        url: str,
        config: TrafficConfig,
        progress: Callable[[TrafficResult], None],
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """`progress` is called again and again, `say` when something of note happens."""
        self.result = TrafficResult()
        self._url = url
        self._config = config
        self._progress = progress
        self._first = None if config.first_version is None else FirstVersion(url, config.first_version, say)
        self._open: dict[str, asyncio.Task[None]] = {}
        self._feedback: list[dict[str, Any]] = []
        self._encode = msgspec.json.Encoder().encode

    async def run(self, events: Iterator[Event]) -> TrafficResult:
        """Sends all events; returns when everything is answered."""
        connector = aiohttp.TCPConnector(limit=self._config.clients + 4)
        async with aiohttp.ClientSession(connector=connector) as session:
            ended = asyncio.Event()
            flusher = asyncio.create_task(self._flush_until(ended, session))
            try:
                await self._send(events, session)
                await asyncio.gather(*self._open.values())
                ended.set()
                await flusher
            finally:
                await _cancel([flusher, *self._open.values()])
        return self.result

    async def _send(self, events: Iterator[Event], session: aiohttp.ClientSession) -> None:
        slots = asyncio.Semaphore(self._config.clients)
        started = time.monotonic()
        for event in events:
            self._progress(self.result)
            if isinstance(event, Impression):
                if self._first is not None:
                    await self._first.wait(session, self.result.candidates, lambda: self._progress(self.result))
                await self._pace(started)
                await slots.acquire()
                self._open[event.event_id] = asyncio.create_task(self._score(session, event, slots))
            elif isinstance(event, Feedback):
                await self._give_feedback(session, event)

    async def _pace(self, started: float) -> None:
        if not self._config.rate_per_second:
            return
        paused = 0.0 if self._first is None else self._first.paused_seconds
        due = started + paused + self.result.requests / self._config.rate_per_second
        wait = due - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)

    async def _score(self, session: aiohttp.ClientSession, event: Impression, slots: asyncio.Semaphore) -> None:
        body = self._encode({
            "request_id": event.event_id, "unit_id": event.unit_id, "session_id": event.session_id,
            "user": event.user, "context": event.context,
            "candidates": {"ad_id": event.ad_ids, **event.candidates},
        })  # fmt: skip
        started = time.perf_counter()
        try:
            async with session.post(f"{self._url}/v1/score", data=body) as answer:
                content = await answer.read()
                self._account(event, answer.status, content, 1000 * (time.perf_counter() - started))
        except (aiohttp.ClientError, TimeoutError) as error:
            self._fail(repr(error))
        finally:
            self._open.pop(event.event_id, None)
            slots.release()

    def _account(self, event: Impression, status: int, content: bytes, latency_ms: float) -> None:
        self.result.requests += 1
        if status != 200:
            self._fail(content.decode(errors="replace"))
            return
        answer = msgspec.json.decode(content)
        self.result.candidates += len(event.ad_ids)
        self.result.latencies_ms.append(latency_ms)
        self.result.versions[answer["version"]] += 1
        self.result.flags.update(answer["flags"])

    def _fail(self, message: str) -> None:
        self.result.errors += 1
        self.result.first_error = self.result.first_error or message

    async def _give_feedback(self, session: aiohttp.ClientSession, event: Feedback) -> None:
        request = self._open.get(event.impression_id)
        if request is not None:
            await request
        self._feedback.append({
            "type": "feedback", "event_id": event.event_id, "event_time_ms": int(1000 * time.time()),
            "session_id": event.session_id, "impression_id": event.impression_id, "ad_id": event.ad_id,
            "kind": event.kind, "value": event.value,
        })  # fmt: skip
        if len(self._feedback) >= _FEEDBACK_BATCH:
            await self._flush(session)

    async def _flush_until(self, ended: asyncio.Event, session: aiohttp.ClientSession) -> None:
        """Sends what has gathered, again and again, and what is left at the end: a batch under way is never cut off."""
        while not ended.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), _FEEDBACK_WAIT_SECONDS)
            await self._flush(session)
        # The end may have come while a batch was under way.
        await self._flush(session)

    async def _flush(self, session: aiohttp.ClientSession) -> None:
        if not self._feedback:
            return
        batch, self._feedback = self._feedback, []
        try:
            async with session.post(f"{self._url}/v1/events", data=self._encode({"events": batch})) as answer:
                content = await answer.read()
                if answer.status != 202:
                    self._fail(content.decode(errors="replace"))
                else:
                    self.result.feedback += len(batch)
        except (aiohttp.ClientError, TimeoutError) as error:
            self._fail(repr(error))


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

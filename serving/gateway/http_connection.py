"""One keep-alive HTTP/1.1 connection as an asyncio protocol: a request goes out, its whole answer comes back.

Made for one peer that always says Content-Length; anything else is an error, not a guess.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from streams.contract.errors import UnavailableError

_MAX_HEAD_BYTES = 16 * 1024
_MAX_BODY_BYTES = 64 * 1024 * 1024
_ABANDONED_SECONDS = 5.0
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,12})[ \t]*\r\n", re.IGNORECASE)
_TENSOR_HEAD = re.compile(rb"\r\ninference-header-content-length:[ \t]*(\d{1,12})[ \t]*\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body, and how much of the body is the JSON head of binary tensors (all of it where not said)."""

    status: int
    body: bytes
    tensor_head_bytes: int


@dataclass(slots=True)
class _Head:
    status: int
    body_at: int
    body_bytes: int
    tensor_head_bytes: int


class HttpConnection(asyncio.Protocol):
    """At most one request at a time. Calls `on_idle(self)` when it can take the next, `on_closed(self)` at its end.

    A request whose sender no longer waits keeps the connection busy until its answer has come;
    if that takes over five seconds, the connection is closed.
    """

    def __init__(
        self, *, on_idle: Callable[[HttpConnection], None], on_closed: Callable[[HttpConnection], object]
    ) -> None:
        self._on_idle = on_idle
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        self._abandoned: asyncio.TimerHandle | None = None
        self._head: _Head | None = None
        self._buffer = bytearray()

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_silent(self) -> bool:
        """Whether a request has been sent of whose answer nothing has come yet."""
        return self._waiter is not None and not self._buffer

    async def exchange(self, request: bytes, deadline: float) -> Answer:
        """Raises TimeoutError past the deadline (`time.monotonic()` seconds), ConnectionResetError where the peer
        closes before it answers, UnavailableError where what it answers is not HTTP with a length."""
        assert self._transport is not None
        assert self._waiter is None
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Answer] = loop.create_future()
        self._waiter = waiter
        self._transport.write(request)
        timer = loop.call_later(max(0.0, deadline - time.monotonic()), _expire, waiter)
        try:
            return await waiter
        finally:
            timer.cancel()
            if self._waiter is waiter:
                self._abandoned = loop.call_later(_ABANDONED_SECONDS, self.close)

    def close(self) -> None:
        """Closes at once; a waiting request fails with ConnectionResetError."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._on_closed(self)
        self._settle(ConnectionResetError("the peer closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            answer = self._parse()
        except ValueError as error:
            self._settle(UnavailableError(f"something else than HTTP answers there: {error}", value=bytes(data[:60])))
            self.close()
            return
        if answer is not None:
            self._settle(answer)
            if self.is_open:
                self._on_idle(self)

    def _settle(self, outcome: Answer | Exception) -> None:
        waiter, self._waiter, self._head = self._waiter, None, None
        if self._abandoned is not None:
            self._abandoned.cancel()
            self._abandoned = None
        if waiter is None or waiter.done():
            return
        if isinstance(outcome, Answer):
            waiter.set_result(outcome)
        else:
            waiter.set_exception(outcome)

    def _parse(self) -> Answer | None:
        """The answer once it is whole. Raises ValueError where this is no answer, or none was due."""
        if self._waiter is None:
            raise ValueError("an answer to no request")
        head = self._head = self._head or _parse_head(self._buffer)
        if head is None or len(self._buffer) < head.body_at + head.body_bytes:
            return None
        if len(self._buffer) > head.body_at + head.body_bytes:
            raise ValueError("more than one answer to a request")
        body = bytes(memoryview(self._buffer)[head.body_at :])
        self._buffer = bytearray()
        return Answer(head.status, body, head.tensor_head_bytes)


def _parse_head(buffer: bytearray) -> _Head | None:
    end = buffer.find(b"\r\n\r\n")
    if not b"HTTP/1.1 ".startswith(bytes(buffer[:9])):
        raise ValueError("no HTTP/1.1 status line")
    if end < 0:
        if len(buffer) > _MAX_HEAD_BYTES:
            raise ValueError("the head of the answer has no end")
        return None
    length = _LENGTH.search(buffer, 0, end + 2)
    body_bytes = int(length[1]) if length else -1
    if not 0 <= body_bytes <= _MAX_BODY_BYTES:
        raise ValueError("no usable Content-Length")
    tensors = _TENSOR_HEAD.search(buffer, 0, end + 2)
    return _Head(int(buffer[9:12]), end + 4, body_bytes, int(tensors[1]) if tensors else body_bytes)


def _expire(waiter: asyncio.Future[Answer]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError("the deadline has passed"))

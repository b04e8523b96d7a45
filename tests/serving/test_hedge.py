"""Requests that Triton's client sends once more, to a real server whose connections are silent when a test says so."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from serving.gateway.hedge import HedgeConfig, Hedges
from serving.gateway.triton_client import TritonClient, TritonClientConfig
from streams.contract.errors import InputError
from streams.contract.wire import pack_probe

SOON = HedgeConfig(share=0.001)
"""20 ms of the time that these requests have."""
Reply = Callable[["Server", int, int], Awaitable[bool]]


class Server:
    """Answers HTTP; each answer's one output is named for its connection, which are numbered from 1 on.

    `reply(server, connection, request)` is awaited before the connection's so manieth request is answered; False:
    it never is.
    """

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.requests: dict[int, int] = {}
        self.hung_up: list[int] = []
        self.changed = asyncio.Condition()
        self.stop_listening: Callable[[], None]
        self._writers: dict[int, asyncio.StreamWriter] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        number = len(self.requests) + 1
        self.requests[number] = 0
        self._writers[number] = writer
        try:
            while await _request(reader):
                self.requests[number] += 1
                await self._notify()
                if await self.reply(self, number, self.requests[number]):
                    self.send(number, _answer(str(number)))
        finally:
            self.hung_up.append(number)
            await self._notify()
            writer.close()

    def send(self, connection: int, data: bytes) -> None:
        """Something, to the client."""
        self._writers[connection].write(data)

    def hang_up(self, connection: int) -> None:
        """Closes it."""
        self._writers[connection].close()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until it holds, looking whenever a request comes or a client hangs up."""
        async with self.changed:
            await self.changed.wait_for(condition)

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()


async def _request(reader: asyncio.StreamReader) -> bool:
    """Whether there was another; it is read to its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.splitlines() if line.startswith(b"Content-Length:"))
        await reader.readexactly(int(length.split()[1]))
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return False
    return True


def _answer(name: str) -> bytes:
    tensor = {"name": name, "datatype": "FP32", "shape": [0], "parameters": {"binary_data_size": 0}}
    body = json.dumps({"outputs": [tensor]}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@asynccontextmanager
async def asked(
    server: Server, config: HedgeConfig = SOON, *, kept: int = 1
) -> AsyncIterator[tuple[TritonClient, list[str]]]:
    """(a client with so many kept connections to the server, the outcomes of its second tries)."""
    outcomes: list[str] = []
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        server.stop_listening = listening.close
        address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        client = TritonClient(TritonClientConfig(address=address), Hedges(config, outcomes.append))
        await asyncio.gather(*(answered_by(client) for _ in range(kept)))
        assert list(server.requests.values()) == [1] * kept
        try:
            yield client, outcomes
        finally:
            await client.close()
            await server.until(lambda: len(server.hung_up) == len(server.requests))


async def answered_by(client: TritonClient, seconds: float = 20.0) -> int:
    """The number of the connection that answered."""
    (name,) = await client.infer(pack_probe(), time.monotonic() + seconds)
    return int(name)


def test_silent_kept_connection_is_answered_for_by_a_fresh_one_and_closed_one_after_the_other() -> None:
    async def reply(server: Server, connection: int, request: int) -> bool:
        return request == 1

    async def use() -> None:
        server = Server(reply)
        async with asked(server, HedgeConfig(share=0.001, max_in_flight=1)) as (client, outcomes):
            assert [await answered_by(client) for _ in range(3)] == [2, 3, 4]
            assert outcomes == ["won"] * 3
            await server.until(lambda: server.hung_up == [1, 2, 3])
            assert server.requests == {1: 2, 2: 2, 3: 2, 4: 1}

    asyncio.run(use())


def test_kept_connection_that_answers_first_after_all_counts_and_is_kept() -> None:
    async def reply(server: Server, connection: int, request: int) -> bool:
        if connection == 1 and request == 2:
            await server.until(lambda: 2 in server.requests)
        return connection == 1

    async def use() -> None:
        server = Server(reply)
        async with asked(server) as (client, outcomes):
            assert await answered_by(client) == 1
            assert outcomes == ["lost"]
            assert await answered_by(client) == 1
            assert server.hung_up == []

    asyncio.run(use())


def test_server_that_is_silent_on_every_connection_is_late_as_without_a_second_try() -> None:
    async def reply(server: Server, connection: int, request: int) -> bool:
        return connection == 1 and request == 1

    async def use() -> None:
        server = Server(reply)
        async with asked(server) as (client, outcomes):
            with pytest.raises(TimeoutError):
                await answered_by(client, 0.3)
            assert outcomes == ["lost"]
            assert server.requests == {1: 2, 2: 1}

    asyncio.run(use())


@pytest.mark.parametrize("most", [0, 1, 2])
def test_no_more_are_sent_twice_at_once_than_the_bound(most: int) -> None:
    async def reply(server: Server, connection: int, request: int) -> bool:
        return connection <= 3 and request == 1

    async def use() -> None:
        server = Server(reply)
        async with asked(server, HedgeConfig(share=0.001, max_in_flight=most), kept=3) as (client, outcomes):
            late = await asyncio.gather(*(answered_by(client, 0.3) for _ in range(3)), return_exceptions=True)
            assert [type(each) for each in late] == [TimeoutError] * 3
            assert outcomes == ["lost"] * most
            assert len(server.requests) == 3 + most

    asyncio.run(use())


def test_second_try_that_cannot_connect_leaves_the_kept_connection_to_answer() -> None:
    async def reply(server: Server, connection: int, request: int) -> bool:
        if request == 2:
            await asyncio.sleep(0.2)
        return True

    async def use() -> None:
        faults: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, fault: faults.append(fault))
        server = Server(reply)
        async with asked(server) as (client, outcomes):
            server.stop_listening()
            assert await answered_by(client) == 1
            assert outcomes == ["lost"]
            gc.collect()
            assert faults == [], "nobody need hear of a try that failed"

    asyncio.run(use())


def test_answer_that_has_begun_is_waited_for_and_not_asked_for_again() -> None:
    async def reply(server: Server, connection: int, request: int) -> bool:
        if request == 2:
            server.send(connection, _answer("1")[:20])
            await asyncio.sleep(0.6)
            server.send(connection, _answer("1")[20:])
        return request == 1

    async def use() -> None:
        server = Server(reply)
        async with asked(server, HedgeConfig(share=0.02)) as (client, outcomes):
            assert await answered_by(client) == 1
            assert (outcomes, server.requests) == ([], {1: 2})

    asyncio.run(use())


def test_kept_connection_that_is_closed_is_sent_again_on_the_next_whether_or_not_a_second_try_is_under_way() -> None:
    async def reply(server: Server, connection: int, request: int) -> bool:
        if connection == 1 and request == 2:
            await server.until(lambda: 2 in server.requests)
            server.hang_up(1)
        if connection == 2:
            await server.until(lambda: 1 in server.hung_up)
        return True

    async def use() -> None:
        server = Server(reply)
        async with asked(server) as (client, outcomes):
            assert await answered_by(client) == 2
            assert outcomes == ["won"]
            server.hang_up(2)
            await server.until(lambda: 2 in server.hung_up)
            assert await answered_by(client) == 3
            assert outcomes == ["won"]

    asyncio.run(use())


@pytest.mark.parametrize("change", [{"share": 0.0}, {"share": 1.0}, {"max_in_flight": -1}], ids=str)
def test_hedge_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError) as refused:
        HedgeConfig(**change)
    assert refused.value.field == f"hedge.{next(iter(change))}"

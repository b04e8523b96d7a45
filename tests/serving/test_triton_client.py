"""The client against a real Triton that serves, stalls, refuses and dies, and against what is no Triton."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serving.gateway.triton_client import RefusalError, TritonClient, TritonClientConfig, encode_infer
from serving.scorer.config import ScorerConfig
from serving.triton.server import TritonServer
from streams.contract.errors import BackPressureError, InputError, UnavailableError
from streams.contract.features import FeatureTransform
from streams.contract.recommend_wire import RecommendRequest, pack_recommend
from streams.contract.wire import INPUTS, info_from, pack_probe, pack_request
from streams.log.event_log import open_log
from streams.store.row_store import open_row_store
from tests.support.ports import free_ports
from tests.support.published import MODEL, PublishedModel
from tests.support.triton import SLOWLY, BlockingClient, need_triton, ranker
from tests.support.valkey import valkey_server


@pytest.fixture(scope="module")
def model_and_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PublishedModel, TritonServer]]:
    """A published model, and a Triton that has loaded it."""
    need_triton()
    folder = tmp_path_factory.mktemp("triton")
    with valkey_server() as redis:
        log = open_log(f"embedded:{folder / 'log'}")
        model = PublishedModel(log, open_row_store(redis.address, model=MODEL, password=""))
        model.begin()
        scorer = ScorerConfig(model=MODEL, log=log.address, redis=redis.address)
        with ranker(folder / "run", scorer) as server:
            blocking = BlockingClient(server.http_address)
            blocking.wait_for_version(1)
            blocking.close()
            yield model, server


def with_client(
    address: str, use: Callable[[TritonClient], Awaitable[None]], *, max_connections: int = 8, model: str = "ranker"
) -> None:
    """Runs `use` with a client of its own."""

    async def run() -> None:
        config = TritonClientConfig(address=address, max_connections=max_connections, model=model, retry_seconds=0.01)
        client = TritonClient(config)
        try:
            await use(client)
        finally:
            await client.close()

    asyncio.run(run())


def soon(seconds: float = 20.0) -> float:
    """A deadline."""
    return time.monotonic() + seconds


@contextmanager
def stalled(server: TritonServer) -> Iterator[None]:
    """The server's processes stand still."""
    os.killpg(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(server.pid, signal.SIGCONT)


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The address of a server that is no Triton: it reads a request, says `answer`, and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_tensors_travel_as_what_they_are() -> None:
    request = pack_recommend(RecommendRequest(unit_id="ü", k=3))
    tensors = {**pack_probe(), "request": request}
    head_bytes, body = encode_infer(tensors)
    inputs = json.loads(body[:head_bytes])["inputs"]
    assert {each["name"]: each["datatype"] for each in inputs} == {**INPUTS, "request": "UINT8"}
    assert inputs[-1]["shape"] == [1, request.size]
    assert body.endswith(request.tobytes())
    assert len(body) == head_bytes + sum(tensor.nbytes for tensor in tensors.values())


@pytest.mark.triton
def test_probabilities_are_those_of_the_plain_network(model_and_server: tuple[PublishedModel, TritonServer]) -> None:
    model, server = model_and_server
    batch = FeatureTransform(model.schema)(
        {"user": ["u"]}, {"article": ["a", "b", "c"]}, np.zeros(3, dtype=np.int32), num_requests=1
    )

    async def use(client: TritonClient) -> None:
        for _ in range(3):
            outputs = await client.infer(pack_request(batch, model.schema.hash), soon())
            assert outputs["probability"].reshape(-1) == pytest.approx(model.expected(batch), abs=1e-6)
            assert info_from(outputs["info"]).version == model.version

    with_client(server.http_address, use)


@pytest.mark.triton
def test_requests_at_once_each_get_their_own_answer(model_and_server: tuple[PublishedModel, TritonServer]) -> None:
    model, server = model_and_server
    transform = FeatureTransform(model.schema)

    async def use(client: TritonClient) -> None:
        sizes = [1, 7, 40, 3, 200, 2, 15, 9]
        batches = [
            transform({}, {"article": [f"{n}-{i}" for i in range(n)]}, np.zeros(n, np.int32), num_requests=1)
            for n in sizes
        ]
        answers = await asyncio.gather(*(client.infer(pack_request(b, model.schema.hash), soon()) for b in batches))
        for answer, size in zip(answers, sizes, strict=True):
            assert answer["probability"].size == size

    with_client(server.http_address, use)


@pytest.mark.triton
def test_schema_of_another_model_is_refused_with_the_reason(
    model_and_server: tuple[PublishedModel, TritonServer],
) -> None:
    model, server = model_and_server
    batch = FeatureTransform(model.schema)({}, {}, np.zeros(1, np.int32), num_requests=1)

    async def use(client: TritonClient) -> None:
        with pytest.raises(RefusalError) as refused:
            await client.infer(pack_request(batch, "0" * 16), soon())
        assert refused.value.reason.startswith("schema_mismatch")

    with_client(server.http_address, use)


@pytest.mark.triton
def test_model_that_is_not_loaded_is_a_refusal(model_and_server: tuple[PublishedModel, TritonServer]) -> None:
    async def use(client: TritonClient) -> None:
        with pytest.raises(RefusalError, match="nobody"):
            await client.infer(pack_probe(), soon())

    with_client(model_and_server[1].http_address, use, model="nobody")


@pytest.mark.triton
def test_stalled_server_means_timeouts_then_a_bound_and_it_recovers(
    model_and_server: tuple[PublishedModel, TritonServer],
) -> None:
    server = model_and_server[1]

    async def use(client: TritonClient) -> None:
        with stalled(server):
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    await client.infer(pack_probe(), soon(0.5))
            with pytest.raises(BackPressureError):
                await client.infer(pack_probe(), soon(0.5))
        while True:
            try:
                outputs = await client.infer(pack_probe(), soon())
                break
            except BackPressureError:
                await asyncio.sleep(0.02)
        assert info_from(outputs["info"]).version > 0

    with_client(server.http_address, use, max_connections=2)


@pytest.mark.triton
def test_cancelled_request_leaves_the_client_usable(model_and_server: tuple[PublishedModel, TritonServer]) -> None:
    server = model_and_server[1]

    async def use(client: TritonClient) -> None:
        await client.infer(pack_probe(), soon())
        with stalled(server):
            task = asyncio.create_task(client.infer(pack_probe(), soon()))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        for _ in range(3):
            assert info_from((await client.infer(pack_probe(), soon()))["info"]).version > 0

    with_client(server.http_address, use)


def test_port_where_nothing_listens_is_unavailable() -> None:
    async def use(client: TritonClient) -> None:
        for _ in range(2):
            with pytest.raises(UnavailableError, match="cannot reach Triton"):
                await client.infer(pack_probe(), soon())

    with_client(f"127.0.0.1:{free_ports(1)[0]}", use)


@pytest.mark.parametrize(
    "answer",
    [b"", b"-ERR unknown command\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
     b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\noops",
     b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"HTTP/1.1 xyz OK\r\nContent-Length: 0\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
     b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"outputs"'],
)  # fmt: skip
def test_address_that_answers_with_something_else_is_unavailable(answer: bytes) -> None:
    with answering(answer) as address:

        async def use(client: TritonClient) -> None:
            with pytest.raises(UnavailableError):
                await client.infer(pack_probe(), soon())

        with_client(address, use)


@pytest.mark.parametrize("address", ["https://host:1", "redis://host", "http://", "http://host:port", "http://h:1/v2"])
def test_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="triton"):
        TritonClient(TritonClientConfig(address=address))


@pytest.mark.triton
def test_server_started_again_on_its_port_is_found_again(tmp_path: Path) -> None:
    need_triton()
    port, grpc, metrics = free_ports(3)
    config = replace(SLOWLY, http_port=port, grpc_port=grpc, metrics_port=metrics)
    scorer = ScorerConfig(model=MODEL, log=f"embedded:{tmp_path / 'log'}", redis="redis://127.0.0.1:1")

    async def use(client: TritonClient) -> None:
        for number in range(2):
            with ranker(tmp_path / str(number), scorer, triton=config):
                assert info_from((await client.infer(pack_probe(), soon()))["info"]).version == 0
            with pytest.raises(UnavailableError):
                await client.infer(pack_probe(), soon())
            await asyncio.sleep(0.05)

    with_client(f"127.0.0.1:{port}", use)

"""One Triton model over pooled keep-alive connections: KServe v2 with the binary tensor extension.

The request is a JSON head that names the tensors and their sizes, then the tensors' bytes, one
after the other; the answer alike. (Triton's `extension_binary_data.md`.)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec
import numpy as np

from serving.gateway.hedge import Hedges
from serving.gateway.http_connection import Answer, HttpConnection
from streams.contract.columns import Array
from streams.contract.errors import BackPressureError, InputError, UnavailableError
from streams.contract.wire import MODEL_NAME, NUMPY_DTYPES

_DATATYPES = {np.dtype(dtype): datatype for datatype, dtype in NUMPY_DTYPES.items()}
_REMEDY = "see that Triton runs and has loaded the model; `freshet status` shows it"


@dataclass(frozen=True, kw_only=True, slots=True)
class TritonClientConfig:
    """Where the model is, and how it is talked to."""

    address: str = "http://127.0.0.1:8000"
    model: str = MODEL_NAME
    max_connections: int = 256
    connect_seconds: float = 1.0
    retry_seconds: float = 0.2
    """After a connection that could not be made, requests are refused for so long without trying."""

    def host_and_port(self) -> tuple[str, int]:
        """The server's host and port. Raises InputError where the address is none."""
        try:
            parts = urlsplit(self.address if "//" in self.address else f"//{self.address}", scheme="http")
            if parts.scheme == "http" and parts.hostname and parts.path in ("", "/"):
                return parts.hostname, parts.port or 8000
        except ValueError:
            pass
        raise InputError("is not the address of a Triton server", field="triton", value=self.address,
                         remedy="use http://HOST:PORT")  # fmt: skip


class RefusalError(UnavailableError):
    """The server answered with an error; `reason` is its text."""

    def __init__(self, reason: str, *, status: int) -> None:
        super().__init__(f"Triton refused the request: {reason}", field="triton", value=status, remedy=_REMEDY)
        self.reason = reason


class _Tensor(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int]


class _Head(msgspec.Struct):
    outputs: list[_Tensor]


class _Refusal(msgspec.Struct):
    error: str


_HEAD = msgspec.json.Decoder(_Head)
_REFUSAL = msgspec.json.Decoder(_Refusal)


class TritonClient:
    """Inference on one model. For one event loop; `infer` may run any number of times at once."""

    def __init__(self, config: TritonClientConfig, hedges: Hedges | None = None) -> None:
        """With `hedges`, what a kept connection does not answer soon is asked of a fresh one, too."""
        self._config = config
        self._hedges = hedges
        self._host, self._port = config.host_and_port()
        self._idle: list[HttpConnection] = []
        self._open: set[HttpConnection] = set()
        self._refuse_until = 0.0
        self._path = f"/v2/models/{config.model}"

    async def infer(self, tensors: Mapping[str, Array], deadline: float) -> dict[str, Array]:
        """The model's output tensors. `deadline` is in `time.monotonic()` seconds.

        Raises TimeoutError past the deadline, RefusalError where the model refuses, BackPressureError
        where every connection is in use, UnavailableError where the server is away or no Triton.
        """
        head, body = encode_infer(tensors)
        request = (
            f"POST {self._path}/infer HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(body)}\r\n"
            f"Inference-Header-Content-Length: {head}\r\nContent-Type: application/octet-stream\r\n\r\n"
        ).encode() + body
        answer = await self._exchange(request, deadline)
        return decode_answer(answer)

    async def close(self) -> None:
        """Closes the connections; what is under way fails."""
        for connection in list(self._open):
            connection.close()

    async def _exchange(self, request: bytes, deadline: float) -> Answer:
        """Sends on an idle connection, or a new one; once more where the server had closed an idle one meanwhile."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                try:
                    return await self._on_kept(connection, request, deadline)
                except ConnectionResetError:
                    continue
        return await self._on_fresh(request, deadline)

    async def _on_kept(self, connection: HttpConnection, request: bytes, deadline: float) -> Answer:
        if self._hedges is None:
            return await connection.exchange(request, deadline)
        return await self._hedges.exchange(connection, request, deadline, lambda: self._on_fresh(request, deadline))

    async def _on_fresh(self, request: bytes, deadline: float) -> Answer:
        try:
            return await (await self._connect(deadline)).exchange(request, deadline)
        except ConnectionResetError as error:
            raise UnavailableError("Triton closed the connection", field="triton", value=self._config.address,
                                   remedy=_REMEDY) from error  # fmt: skip

    async def _connect(self, deadline: float) -> HttpConnection:
        now = time.monotonic()
        if len(self._open) >= self._config.max_connections:
            raise BackPressureError("every connection to Triton is in use", field="triton",
                                    value=self._config.max_connections)  # fmt: skip
        if now < self._refuse_until:
            raise self._away("was away a moment ago")
        patience = min(self._config.connect_seconds, deadline - now)
        try:
            async with asyncio.timeout(patience):
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(self._connection, self._host, self._port)
        except TimeoutError:
            self._refuse_until = time.monotonic() + self._config.retry_seconds
            raise
        except OSError as error:
            self._refuse_until = time.monotonic() + self._config.retry_seconds
            raise self._away(str(error)) from error
        self._open.add(connection)
        return connection

    def _connection(self) -> HttpConnection:
        return HttpConnection(on_idle=self._idle.append, on_closed=self._forget)

    def _forget(self, connection: HttpConnection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _away(self, why: str) -> UnavailableError:
        return UnavailableError(f"cannot reach Triton: {why}", field="triton", value=self._config.address,
                                remedy=_REMEDY)  # fmt: skip


def encode_infer(tensors: Mapping[str, Array]) -> tuple[int, bytes]:
    """(bytes of the JSON head, the whole body) of an inference request whose outputs shall be binary.

    A tensor travels as what it is: one of the types of `NUMPY_DTYPES`, contiguous.
    """
    inputs = ",".join(
        f'{{"name":"{name}","shape":[{",".join(map(str, tensor.shape))}],"datatype":"{_DATATYPES[tensor.dtype]}",'
        f'"parameters":{{"binary_data_size":{tensor.nbytes}}}}}'
        for name, tensor in tensors.items()
    )
    head = f'{{"inputs":[{inputs}],"parameters":{{"binary_data_output":true}}}}'.encode()
    return len(head), b"".join([head, *(tensor.data for tensor in tensors.values())])


def decode_answer(answer: Answer) -> dict[str, Array]:
    """The output tensors, read-only. Raises RefusalError, or UnavailableError where this is no answer of Triton's."""
    try:
        if answer.status != 200:
            raise RefusalError(_REFUSAL.decode(answer.body).error, status=answer.status)
        head = answer.tensor_head_bytes
        outputs: dict[str, Array] = {}
        at = head
        for tensor in _HEAD.decode(memoryview(answer.body)[:head]).outputs:
            num_bytes = tensor.parameters["binary_data_size"]
            flat = np.frombuffer(answer.body[at : at + num_bytes], dtype=NUMPY_DTYPES[tensor.datatype])
            outputs[tensor.name] = flat.reshape(tensor.shape)
            at += num_bytes
    except (msgspec.MsgspecError, KeyError, ValueError) as error:
        raise UnavailableError("something else than Triton answers there", field="triton", value=answer.body[:60],
                               remedy=_REMEDY) from error  # fmt: skip
    return outputs

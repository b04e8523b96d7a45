"""One table of HTTP operations, from which routing, authorisation and the OpenAPI document are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive

from serving.gateway.auth import Gate
from serving.gateway.http_errors import error_answer
from serving.gateway.keys import Role
from serving.gateway.limits import LimitsConfig, check_body_bytes
from streams.contract.errors import InputError

Handler = Callable[[Request], Awaitable[Response]]
Access = Role | Literal["any", "open"]
"""The role a key needs; `any`: some key; `open`: none at all."""


class ClientGoneError(Exception):
    """The client hung up before its body was whole; nobody waits for an answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One method of one path. `body` and `answer` are msgspec types, or None for what is not JSON."""

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    access: Access
    summary: str
    answer: Any = None
    body: Any = None
    status: int = 200
    media: str = "application/json"
    body_media: tuple[str, ...] = ("application/json",)
    errors: Mapping[int, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Request headers with what they do."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Query parameters with what they do."""


def build_routes(operations: Sequence[Operation], gate: Gate) -> list[Route]:
    """Starlette routes that check the caller's role and turn exceptions into the one error shape."""
    return [Route(o.path, _guarded(o, gate), methods=[o.method], name=f"{o.method} {o.path}") for o in operations]


def _guarded(operation: Operation, gate: Gate) -> Handler:
    async def guarded(request: Request) -> Response:
        try:
            if operation.access != "open":
                gate.check(dict(request.headers.raw), None if operation.access == "any" else operation.access)
            return await operation.handler(request)
        except ClientGoneError:
            return Response(status_code=400)
        except Exception as error:
            status, body, headers = error_answer(error)
            extra = {name.decode(): value.decode() for name, value in headers}
            return Response(body, status_code=status, headers=extra, media_type="application/json")

    return guarded


def json_response(content: Any, status: int = 200) -> Response:
    """`content` (plain values, dataclasses) as JSON."""
    return Response(orjson.dumps(content), status_code=status, media_type="application/json")


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], limits: LimitsConfig) -> bytes:
    """The whole body. Raises TooLargeError before more than the limit has been kept, ClientGoneError."""
    declared = headers.get(b"content-length")
    if declared is not None and declared.isdigit():
        check_body_bytes(int(declared[:18]), limits)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        whole: bytes = message.get("body", b"")
        check_body_bytes(len(whole), limits)
        return whole
    parts: list[bytes] = []
    num_bytes = 0
    while True:
        if message["type"] != "http.request":
            raise ClientGoneError
        parts.append(message.get("body", b""))
        num_bytes += len(parts[-1])
        check_body_bytes(num_bytes, limits)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


def path_number(request: Request, name: str) -> int:
    """A number in the path. Raises InputError."""
    text = request.path_params[name]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InputError("is not a number", field=name, value=text, remedy="see GET /v1/models")
    return int(text)

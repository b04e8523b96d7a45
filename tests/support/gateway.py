"""A real gateway on a free port for tests, and a plain client of it."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from serving.gateway.app import GatewayConfig, create_server
from serving.gateway.event_writer import WriterConfig
from serving.gateway.limits import LimitsConfig
from streams.contract.encoding import decode_event
from streams.contract.events import Event
from streams.log.event_log import EVENTS, EventLog
from tests.support.published import MODEL
from tests.support.serving_model import ModelWorld
from tests.support.valkey import wait_until


@dataclass(frozen=True)
class Reply:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, str]:
        """The error in the body."""
        found: dict[str, str] = self.json["error"]
        return found


class Http:
    """A client of one gateway; every call is a connection of its own."""

    def __init__(self, address: str) -> None:
        self.host = address.removeprefix("http://")

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        """GET."""
        return self.call("GET", path, None, headers)

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
        """POST of bytes, or of anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.call("POST", path, data, headers)

    def call(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None) -> Reply:
        """One request."""
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Reply(answer.status, {name.lower(): v for name, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()


@contextmanager
def gateway(config: GatewayConfig) -> Iterator[Http]:
    """A gateway that serves until the end of the block, then has written what was shown."""
    server = create_server(config)
    ready = threading.Event()
    thread = threading.Thread(target=server.serve_until_stopped, args=(lambda address: ready.set(),))
    thread.start()
    try:
        wait_until(lambda: ready.is_set() or not thread.is_alive(), "the gateway did not come up")
        assert ready.is_set()
        yield Http(server.address)
    finally:
        server.should_exit = True
        thread.join()


def read_events(log: EventLog) -> list[Event]:
    """Everything in `events`, partition by partition."""
    begin = log.begin_offsets(log.partitions(EVENTS))
    return [decode_event(record.value) for record in log.read(begin, max_records=10_000)]


LIMITS = LimitsConfig(max_body_bytes=500_000, deadline_ms=20_000)
WRITER = WriterConfig(patience_seconds=30.0)
"""A log that is slow on a busy machine is not one that is away."""


def config_for(world: ModelWorld, triton: str = "inprocess", **more: Any) -> GatewayConfig:
    """A gateway of the world on a free port."""
    fields = {"spool_dir": world.folder / "spool", "limits": LIMITS, "writer": WRITER, "live_poll_seconds": 0.02,
              "port": 0, **more}  # fmt: skip
    return GatewayConfig(log=world.log.address, redis=world.redis.address, triton=triton, model=MODEL, **fields)


def wait_until_ready(http: Http) -> None:
    """Waits until the gateway can score."""
    wait_until(lambda: http.get("/readyz").status == 200, "the gateway was not ready", 60)


def score_body(**changes: Any) -> dict[str, Any]:
    """A request that is as it should be, but for the changes."""
    body: dict[str, Any] = {
        "unit_id": "u",
        "user": {"user": "u", "history": ["a", "b"]},
        "candidates": {"ad_id": ["1", "2", "3"], "article": ["a", "b", "z"], "age": [1.0, 2, None]},
    }
    return {**body, **changes}


def candidates(**changes: Any) -> dict[str, Any]:
    """A request with other candidate columns."""
    return score_body(candidates={**score_body()["candidates"], **changes})


def logged(world: ModelWorld, event_id: str) -> list[Any]:
    """The events of that id, once there is one."""
    wait_until(lambda: any(e.event_id == event_id for e in read_events(world.log)), f"{event_id} was not logged")
    return [event for event in read_events(world.log) if event.event_id == event_id]

"""An ASGI application behind uvicorn on a host and port, until it is told to stop."""

from __future__ import annotations

import gc
import socket
import sys
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from streams.contract.errors import UnavailableError
from streams.listening import url_of

_BACKLOG = 1024
_SWITCH_SECONDS = 0.0005
_GC_THRESHOLDS = (50_000, 50, 100)


class GatewayServer(uvicorn.Server):
    """An application on a bound socket. `should_exit = True`, from any thread, ends it in good order."""

    def __init__(self, app: ASGIApp, bound: socket.socket, *, shutdown_seconds: float) -> None:
        self._socket = bound
        self._on_ready: Callable[[str], None] | None = None
        self.address = url_of(bound)
        options = uvicorn.Config(
            app,
            http="httptools",
            loop="uvloop",
            lifespan="on",
            ws="none",
            interface="asgi3",
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=max(1, round(shutdown_seconds)),
        )
        super().__init__(options)

    def serve_until_stopped(self, on_ready: Callable[[str], None] | None = None) -> None:
        """Serves; calls `on_ready(address)` once requests are answered. Raises UnavailableError if it cannot start."""
        self._on_ready = on_ready
        try:
            self.run(sockets=[self._socket])
        finally:
            self._socket.close()
        if not self.started:
            raise UnavailableError("the gateway could not start", field="gateway", remedy="see its log above")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._on_ready is not None:
            self._on_ready(self.address)


def tune_process() -> None:
    """Keeps collections and other threads from holding up answers: what is loaded now is never collected."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    # The writer's threads must let the event loop go on at once, not after 5 ms.
    sys.setswitchinterval(_SWITCH_SECONDS)

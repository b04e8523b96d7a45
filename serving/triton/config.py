"""How a Triton server of our own is started."""

from __future__ import annotations

from dataclasses import dataclass

from streams.contract.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class TritonConfig:
    """Ports (0: a free one), and how long to wait. Bound to loopback unless told otherwise."""

    host: str = "127.0.0.1"
    http_port: int = 0
    grpc_port: int = 0
    metrics_port: int = 0
    start_timeout_seconds: float = 60.0
    load_timeout_seconds: float = 120.0
    stop_timeout_seconds: float = 10.0
    num_http_threads: int = 8

    def __post_init__(self) -> None:
        for name in ("http_port", "grpc_port", "metrics_port"):
            port = getattr(self, name)
            if not 0 <= port < 65536:
                raise InputError("is not a port", field=name, value=port, remedy="use 1 to 65535, or 0 for a free one")

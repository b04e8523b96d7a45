"""Free ports on the loopback interface."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from pathlib import Path

_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST, _USUAL_END = 10_000, 32_768
_TRIES = 100
_RANDOM = random.SystemRandom()


def free_ports(count: int) -> list[int]:
    """Ports nobody listened on a moment ago; all different.

    They lie below those that the kernel gives to outgoing connections: a client that looks for a server
    that is down could else be given the server's own port, and keep it from coming back.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(_bound()) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def _bound() -> socket.socket:
    end = _first_of_outgoing()
    for _ in range(_TRIES if end > _LOWEST else 0):
        bound = _bound_to(_RANDOM.randrange(_LOWEST, end))
        if bound is not None:
            return bound
    bound = _bound_to(0)
    assert bound is not None, "the kernel gives a port that is free"
    return bound


def _bound_to(port: int) -> socket.socket | None:
    """None where the port is taken."""
    sock = socket.socket()
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        sock.close()
        return None
    return sock


def _first_of_outgoing() -> int:
    """The first port of outgoing connections, as Linux tells; elsewhere they begin higher."""
    try:
        return int(_RANGE_FILE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _USUAL_END

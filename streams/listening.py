"""The address that a server listens on, taken before anything else of it is built."""

from __future__ import annotations

import errno
import socket

from streams.contract.errors import InputError


def bind(host: str, port: int, *, field: str = "port") -> socket.socket:
    """A socket bound to host and port (0: a free one), not listening yet.

    Raises InputError naming `host`, or `field` where the port is not to be had.
    """
    if not 0 <= port <= 65535:
        raise InputError("is not a port", field=field, value=port, remedy="use 1 to 65535, or 0 for a free one")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise InputError("is not an address of this machine", field="host", value=host,
                         remedy="use 127.0.0.1 or 0.0.0.0") from error  # fmt: skip
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise InputError(why, field=field, value=port,
                         remedy="stop what listens there, or choose another (0: a free one)") from error  # fmt: skip
    return bound


def url_of(bound: socket.socket) -> str:
    """`http://HOST:PORT` of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

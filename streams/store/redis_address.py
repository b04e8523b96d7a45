"""Where a Redis is: `redis://HOST:PORT[,HOST:PORT…]`, or `rediss://…` for TLS."""

from __future__ import annotations

from dataclasses import dataclass

from streams.contract.errors import InputError

DEFAULT_PORT = 6379


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """The nodes to ask first, and whether to speak TLS."""

    nodes: tuple[tuple[str, int], ...]
    tls: bool


def parse_address(address: str) -> RedisAddress:
    """The parts of `address`. Raises InputError; a password in it is refused, since addresses are shown and logged."""
    scheme, separator, rest = address.partition("://")
    if not separator or scheme not in ("redis", "rediss"):
        raise _refused(address, "is no address of a Redis")
    if "@" in rest:
        raise InputError("must not hold a password", field="redis", remedy="set FRESHET_REDIS_PASSWORD instead")
    return RedisAddress(tuple(_node(address, part) for part in rest.rstrip("/").split(",")), scheme == "rediss")


def _node(address: str, part: str) -> tuple[str, int]:
    host, colon, port = part.rpartition(":")
    if not colon:
        host, port = part, str(DEFAULT_PORT)
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise _refused(address, f"names no host and port in {part!r}")
    return host.strip("[]"), int(port)


def _refused(address: str, why: str) -> InputError:
    return InputError(why, field="redis", value=address, remedy="use redis://HOST:PORT[,HOST:PORT…]")

"""Many commands in one trip: the same for a lone Redis and for a cluster.

    commands ──> group by node ──> write to every node ──> read from every node ──> replies in order

The connections, the handshake and the cluster's slot table are redis-py's. Its cluster pipeline looks
up the policy and the keys of each command, which costs more than the trip; here the key is a command's
second word.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hiredis import pack_command
from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot
from redis.retry import Retry

from streams.contract.errors import InputError
from streams.store.redis_address import RedisAddress, parse_address
from streams.store.redis_errors import translated

Command = tuple[Any, ...]
"""Name, key, arguments: str, bytes, int or float."""

_AGAIN = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.MovedError,
    exceptions.AskError,
    exceptions.TryAgainError,
    exceptions.ClusterDownError,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RedisConfig:
    """Bounds of every wait. A reader with a deadline sets short ones and no retries."""

    connect_timeout_seconds: float = 2.0
    timeout_seconds: float = 5.0
    num_retries: int = 2
    retry_pause_seconds: float = 0.05
    ca_file: str = ""
    """Certificates to trust with rediss://; empty: the system's."""


class RedisNodes:
    """One Redis or one cluster, safe to use from several threads. Made by `connect_redis`."""

    def __init__(self, address: str, client: Redis | RedisCluster, config: RedisConfig) -> None:
        self.address = address
        self._client = client
        self._config = config

    @property
    def is_cluster(self) -> bool:
        """Whether keys are spread over nodes."""
        return isinstance(self._client, RedisCluster)

    def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Sends all commands in one trip a node; their replies as the server gave them, in order.

        Every command must bear being sent twice: after a lost connection it is. Not a transaction.
        Raises UnavailableError, InputError where the server refuses us.
        """
        with translated(self.address):
            replies = self._trip(commands)
            for _ in range(self._config.num_retries):
                places = [place for place, reply in enumerate(replies) if isinstance(reply, _AGAIN)]
                if not places:
                    break
                time.sleep(self._config.retry_pause_seconds)
                again = self._second_trip([commands[n] for n in places], [replies[n] for n in places])
                for place, reply in zip(places, again, strict=True):
                    replies[place] = reply
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
            return replies

    def close(self) -> None:
        """Frees the connections."""
        self._client.close()

    def _second_trip(self, commands: list[Command], replies: list[Any]) -> list[Any]:
        if not isinstance(self._client, RedisCluster):
            return self._trip(commands)
        if any(type(reply) is exceptions.AskError for reply in replies):
            # While a slot moves, its keys are on two nodes; the library asks one by one.
            ask: Any = self._client.execute_command
            return [ask(*command) for command in commands]
        self._client.nodes_manager.initialize()
        return self._trip(commands)

    def _trip(self, commands: Sequence[Command]) -> list[Any]:
        by_node: dict[Redis, list[int]] = {}
        for place, command in enumerate(commands):
            by_node.setdefault(self._node(command[1]), []).append(place)
        replies: list[Any] = [None] * len(commands)
        trips = [(_NodeTrip(node), places) for node, places in by_node.items()]
        try:
            for trip, places in trips:
                trip.write([commands[place] for place in places])
            for trip, places in trips:
                for place, reply in zip(places, trip.read(len(places)), strict=True):
                    replies[place] = reply
        finally:
            for trip, _ in trips:
                trip.end()
        return replies

    def _node(self, key: str | bytes) -> Redis:
        if isinstance(self._client, Redis):
            return self._client
        node = self._client.nodes_manager.get_node_from_slot(_slot(key))
        client: Redis = self._client.get_redis_connection(node)
        return client


class _NodeTrip:
    """One node's part of a trip. A failure becomes the reply of every command that it left unanswered."""

    def __init__(self, node: Redis) -> None:
        self._pool = node.connection_pool
        self._connection: Any = None
        self._unread = 0
        self._failure: Exception | None = None

    def write(self, commands: list[Command]) -> None:
        try:
            self._connection = self._pool.get_connection()
            self._unread = len(commands)
            # The connection's own packing looks at every argument in Python first, to twice the cost.
            self._connection.send_packed_command([b"".join(map(pack_command, commands))])
        except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
            self._failure = error

    def read(self, count: int) -> list[Any]:
        replies: list[Any] = []
        while len(replies) < count and self._failure is None:
            try:
                replies.append(self._connection.read_response())
                self._unread -= 1
            except exceptions.ResponseError as error:
                replies.append(error)
                self._unread -= 1
            except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
                self._failure = error
        return replies + [self._failure] * (count - len(replies))

    def end(self) -> None:
        """Gives the connection back; one with unread replies is closed first, or the next user would read them."""
        if self._connection is None:
            return
        if self._unread:
            self._connection.disconnect()
        self._pool.release(self._connection)


@lru_cache(maxsize=8192)
def _slot(key: str | bytes) -> int:
    slot: int = key_slot(key.encode() if isinstance(key, str) else key)
    return slot


def connect_redis(address: str, *, password: str = "", config: RedisConfig | None = None) -> RedisNodes:
    """The Redis or the cluster at `address` (`redis://HOST:PORT[,HOST:PORT…]`), after asking which of them it is.

    Raises InputError for an address that cannot be read or a wrong password, UnavailableError where
    nothing, or something else, answers there.
    """
    config = config or RedisConfig()
    parsed = parse_address(address)
    with translated(address):
        client = _first_that_answers(parsed, _options(parsed, password, config))
        mode = _mode(client)
        if mode == "cluster":
            client.close()
            node: Any = ClusterNode
            nodes = [node(host, port) for host, port in parsed.nodes]
            return RedisNodes(address, RedisCluster(startup_nodes=nodes, **_options(parsed, password, config)), config)
    if mode != "standalone":
        client.close()
        raise InputError(f"is a {mode}, not a store", field="redis", value=address, remedy="give the store's address")
    return RedisNodes(address, client, config)


def _options(address: RedisAddress, password: str, config: RedisConfig) -> dict[str, Any]:
    tls = {"ssl": True, "ssl_ca_certs": config.ca_file or None} if address.tls else {}
    return {
        "password": password or None,
        "socket_connect_timeout": config.connect_timeout_seconds,
        "socket_timeout": config.timeout_seconds,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        **tls,
    }


def _first_that_answers(address: RedisAddress, options: dict[str, Any]) -> Redis:
    failure: Exception | None = None
    for host, port in address.nodes:
        client = Redis(host=host, port=port, **options)
        try:
            client.ping()
            return client
        except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
            client.close()
            failure = failure or error
    assert failure is not None
    raise failure


def _mode(client: Redis) -> str:
    fields: dict[str, Any] = client.info("server")
    return str(fields.get("redis_mode", fields.get("server_mode", "standalone")))

"""Addresses, passwords, and what answers there."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

from streams.contract.errors import FormatError, InputError, UnavailableError
from streams.store.redis_client import RedisConfig, RedisNodes, connect_redis
from tests.support.ports import free_port
from tests.support.valkey import ValkeyCluster, ValkeyServer, valkey_server

QUICK = RedisConfig(connect_timeout_seconds=0.5, timeout_seconds=0.5, num_retries=0)
PATIENT = RedisConfig(connect_timeout_seconds=30.0, timeout_seconds=30.0, num_retries=0)


@pytest.fixture
def http_port() -> Iterator[int]:
    """A port where an HTTP server answers."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    "address",
    ["localhost:6379", "http://127.0.0.1:80", "redis://", "redis://host:x", "redis://a:1,,b:2", "redis://h:0"],
)
def test_malformed_address_raises_input_error_naming_it(address: str) -> None:
    with pytest.raises(InputError, match="HOST:PORT") as raised:
        connect_redis(address)
    assert raised.value.value == address


def test_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputError, match="FRESHET_REDIS_PASSWORD") as raised:
        connect_redis("redis://:hunter2@localhost:6379")
    assert "hunter2" not in str(raised.value)


def test_nobody_there_raises_unavailable_naming_address_and_remedy() -> None:
    address = f"redis://127.0.0.1:{free_port()}"
    with pytest.raises(UnavailableError, match="start Redis") as raised:
        connect_redis(address, config=QUICK)
    assert raised.value.value == address


def test_http_server_there_raises_unavailable_saying_so(http_port: int) -> None:
    with pytest.raises(UnavailableError, match="other than the Redis protocol"):
        connect_redis(f"redis://127.0.0.1:{http_port}", config=PATIENT)


def test_silent_server_there_raises_unavailable_in_bounded_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(UnavailableError, match="in time"):
            connect_redis(f"redis://127.0.0.1:{silent.getsockname()[1]}", config=QUICK)


def test_wrong_and_missing_password_raise_input_error_and_the_right_one_connects() -> None:
    with valkey_server(password="secret") as server:
        for password in ("", "wrong"):
            with pytest.raises(InputError, match="FRESHET_REDIS_PASSWORD"):
                connect_redis(server.address, password=password)
        nodes = connect_redis(server.address, password="secret")
        assert nodes.execute([("SET", "k", "v"), ("GET", "k")]) == [b"OK", b"v"]
        nodes.close()


def test_replies_come_in_the_order_of_the_commands(redis_nodes: RedisNodes) -> None:
    redis_nodes.execute([("SET", f"key{n}", n) for n in range(300)])
    assert redis_nodes.execute([("GET", f"key{n}") for n in range(300)]) == [str(n).encode() for n in range(300)]


def test_error_of_one_command_is_raised_and_the_connection_stays_usable(redis_nodes: RedisNodes) -> None:
    redis_nodes.execute([("SET", "text", "x")])
    with pytest.raises(FormatError, match="WRONGTYPE"):
        redis_nodes.execute([("GET", "text"), ("HGETALL", "text"), ("GET", "text")])
    assert redis_nodes.execute([("GET", "text")]) == [b"x"]


@pytest.mark.cluster
def test_cluster_is_recognised_and_slots_that_move_are_followed(cluster: ValkeyCluster) -> None:
    nodes = connect_redis(cluster.address)
    assert nodes.is_cluster
    nodes.execute([("SET", "moved", "here")])
    with cluster.nodes[0].client() as client:
        slot = int(client.execute_command("CLUSTER KEYSLOT", "moved"))
    _move(cluster, slot, b"moved")
    assert nodes.execute([("GET", "moved"), ("GET", "other")]) == [b"here", None]
    nodes.close()


def _move(cluster: ValkeyCluster, slot: int, key: bytes) -> None:
    """Gives a slot and its one key to another node, as an operator's rebalancing does."""
    holders = [node for node in cluster.nodes if _holds(node, key)]
    source, target = holders[0], next(node for node in cluster.nodes if node is not holders[0])
    source_id, target_id = _name(source), _name(target)
    with source.client() as old, target.client() as new:
        new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", source_id)
        old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target_id)
        old.execute_command("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
        for client in (new, old):
            client.execute_command("CLUSTER SETSLOT", slot, "NODE", target_id)


def _name(node: ValkeyServer) -> str:
    with node.client() as client:
        name: bytes = client.execute_command("CLUSTER MYID")
        return name.decode()


def _holds(node: ValkeyServer, key: bytes) -> bool:
    with node.client() as client:
        return key in client.keys("*")

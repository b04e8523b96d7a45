"""Fixtures: a lone Valkey, a cluster of three, and an empty store on each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streams.store.redis_client import RedisNodes
from streams.store.row_store import RowStore, open_row_store
from tests.support.valkey import ValkeyCluster, ValkeyServer, flush, valkey_cluster, valkey_server


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """A running server for the whole session; other tests' keys may be there."""
    with valkey_server() as server:
        yield server


@pytest.fixture(scope="session")
def cluster() -> Iterator[ValkeyCluster]:
    """A running cluster of three for the whole session; mark the test `cluster`."""
    with valkey_cluster() as running:
        yield running


@pytest.fixture(params=["standalone", pytest.param("cluster", marks=pytest.mark.cluster)])
def redis_kind(request: pytest.FixtureRequest) -> str:
    """`standalone`, then `cluster`."""
    kind: str = request.param
    return kind


@pytest.fixture
def valkey_nodes(redis_kind: str, request: pytest.FixtureRequest) -> list[ValkeyServer]:
    """The emptied servers of a store of each kind."""
    if redis_kind == "cluster":
        cluster: ValkeyCluster = request.getfixturevalue("cluster")
        nodes = cluster.nodes
    else:
        nodes = [request.getfixturevalue("valkey")]
    flush(nodes)
    return nodes


@pytest.fixture
def redis_address(valkey_nodes: list[ValkeyServer]) -> str:
    """The address of an emptied store of each kind."""
    return "redis://" + ",".join(f"127.0.0.1:{node.port}" for node in valkey_nodes)


@pytest.fixture
def store(redis_address: str) -> Iterator[RowStore]:
    """An open, empty store of the model `ads`, of each kind."""
    store = open_row_store(redis_address, model="ads", password="")
    yield store
    store.close()


@pytest.fixture
def redis_nodes(store: RowStore) -> RedisNodes:
    """Its connections."""
    return store.nodes

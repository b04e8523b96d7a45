"""The main job on a real Kafka and a real three-node Valkey cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.demo_account import check_account
from tests.support.kafka_server import KafkaServer, new_server
from tests.support.stacks import freshet
from tests.support.triton import need_triton
from tests.support.valkey import ValkeyCluster, valkey_cluster

pytestmark = [pytest.mark.triton, pytest.mark.kafka, pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaServer]:
    """A broker that holds this test's topics alone."""
    server = new_server(tmp_path / "kafka")
    server.folder.mkdir()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def own_cluster() -> Iterator[ValkeyCluster]:
    with valkey_cluster() as running:
        yield running


def test_demo_on_kafka_and_cluster_loses_doubles_and_tears_nothing(
    own_kafka: KafkaServer, own_cluster: ValkeyCluster, tmp_path: Path
) -> None:
    need_triton()
    done = freshet(
        "demo", "--data", "simulator:small", "--events", 3000, "--rate", 100, "--dir", tmp_path / "demo",
        "--log", own_kafka.address, "--redis", own_cluster.address, "--json",
    )  # fmt: skip
    check_account(done, num_events=3000)
    keys = []
    for node in own_cluster.nodes:
        with node.client() as client:
            keys.append(client.dbsize())
    assert min(keys) > 0

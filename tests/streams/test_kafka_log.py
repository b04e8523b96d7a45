"""What only a Kafka broker can do: be away, be something else, ask for a password, hold a transaction open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import kafka as kafka_client
import pytest

from streams.contract.errors import InputError, UnavailableError
from streams.log.event_log import Append, TopicPartition, at_end
from streams.log.kafka_log import KafkaLog
from tests.support.kafka_secure import PASSWORD, USERNAME, SecureKafkaServer, new_secure_server
from tests.support.kafka_server import KafkaServer, new_server
from tests.support.log_processes import read_all
from tests.support.ports import free_port


@pytest.fixture
def kafka_log(kafka: KafkaServer) -> Iterator[KafkaLog]:
    log = KafkaLog.open(kafka.address)
    yield log
    log.close()


@pytest.fixture
def partition(kafka_log: KafkaLog, request: pytest.FixtureRequest) -> TopicPartition:
    topic = f"{request.node.originalname}"[:100]
    kafka_log.create_topic(topic, 1)
    return TopicPartition(topic, 0)


@pytest.fixture
def new_producer(kafka: KafkaServer) -> Iterator[Callable[[str], Any]]:
    """Makes Kafka's own transactional producer, to write what KafkaLog never would."""
    producers = []

    def make(transactional_id: str) -> Any:
        servers = [kafka.address.removeprefix("kafka://")]
        producers.append(kafka_client.KafkaProducer(bootstrap_servers=servers, transactional_id=transactional_id))
        producers[-1].init_transactions()
        return producers[-1]

    yield make
    for producer in producers:
        producer.close()


@contextmanager
def http_server() -> Iterator[int]:
    """The port of a web server."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_open_where_nobody_listens_raises_unavailable_with_address_and_remedy() -> None:
    address = f"kafka://127.0.0.1:{free_port()}?connect_timeout_seconds=1"
    with pytest.raises(UnavailableError) as raised:
        KafkaLog.open(address)
    assert raised.value.value == address
    assert "check that the address is a Kafka broker's" in str(raised.value)


def test_open_of_a_web_server_raises_unavailable_with_address_and_remedy() -> None:
    with http_server() as port, pytest.raises(UnavailableError, match=str(port)) as raised:
        KafkaLog.open(f"kafka://127.0.0.1:{port}?connect_timeout_seconds=1")
    assert raised.value.remedy


@pytest.mark.kafka
def test_records_of_an_aborted_transaction_are_never_seen(
    kafka_log: KafkaLog, partition: TopicPartition, new_producer: Callable[[str], Any]
) -> None:
    producer = new_producer("aborting")
    for number, end in enumerate(["abort", "commit", "abort"]):
        producer.begin_transaction()
        producer.send(partition.topic, f"{end} {number}".encode(), partition=0)
        producer.flush()
        (producer.commit_transaction if end == "commit" else producer.abort_transaction)()
    assert [record.value for record in kafka_log.read({partition: 0}, timeout_seconds=10)] == [b"commit 1"]
    assert read_all(kafka_log, [partition]) == [b"commit 1"]


@pytest.mark.kafka
def test_records_behind_an_open_transaction_wait_for_its_end(
    kafka_log: KafkaLog, partition: TopicPartition, new_producer: Callable[[str], Any]
) -> None:
    producer = new_producer("open")
    producer.begin_transaction()
    producer.send(partition.topic, b"first", partition=0)
    producer.flush()
    kafka_log.append([Append(partition, b"second")])
    assert kafka_log.read({partition: 0}, timeout_seconds=0.1) == []
    assert at_end(kafka_log, {partition: 0})
    producer.commit_transaction()
    kafka_log.append([Append(partition, b"third")])
    assert read_all(kafka_log, [partition]) == [b"first", b"second", b"third"]


def wait_until_it_takes_transactions(server: KafkaServer) -> None:
    """A broker's port answers before its coordinators do: seconds before, where the machine is busy."""
    patient = KafkaLog.open(f"{server.address}?request_timeout_seconds=60&connect_timeout_seconds=60")
    patient.create_topic("patient", 1)
    with patient.transaction("patient") as transaction:
        transaction.append([Append(TopicPartition("patient", 0), b"x")])
        transaction.commit_offsets("patient", {TopicPartition("patient", 0): 0})
    patient.close()


@pytest.mark.kafka
@pytest.mark.slow
def test_appends_and_offsets_survive_a_killed_broker_and_the_log_goes_on(tmp_path: Path) -> None:
    server = new_server(tmp_path)
    server.start()
    log = KafkaLog.open(f"{server.address}?request_timeout_seconds=5&connect_timeout_seconds=3")
    try:
        log.create_topic("topic", 2)
        partitions = log.partitions("topic")
        log.append([Append(partition, b"before") for partition in partitions])
        with log.transaction("writer") as transaction:
            transaction.append([Append(partitions[0], b"transaction")])
            transaction.commit_offsets("group", {partitions[1]: 1})
        server.kill()
        for records in ([Append(partitions[0], b"lost")], [Append(partition, b"lost") for partition in partitions]):
            with pytest.raises(UnavailableError, match=str(server.port)):
                log.append(records)
        with pytest.raises(UnavailableError), log.transaction("writer") as transaction:
            transaction.append([Append(partitions[0], b"lost")])
        with pytest.raises(UnavailableError):
            log.read(dict.fromkeys(partitions, 0))
        server.start()
        wait_until_it_takes_transactions(server)
        with log.transaction("writer") as transaction:
            transaction.append([Append(partitions[0], b"after")])
        log.append([Append(partitions[1], b"after")])
        assert read_all(log, partitions) == [b"before", b"transaction", b"after", b"before", b"after"]
        assert log.committed_offsets("group", partitions) == {partitions[1]: 1}
    finally:
        log.close()
        server.stop()


@pytest.fixture(scope="module")
def secure_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafkaServer]:
    secure = new_secure_server(tmp_path_factory.mktemp("secure-kafka"))
    try:
        secure.server.start()
        yield secure
    finally:
        secure.server.stop()


@pytest.mark.kafka
def test_broker_with_tls_and_scram_takes_the_right_password(
    secure_kafka: SecureKafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRESHET_KAFKA_USERNAME", USERNAME)
    monkeypatch.setenv("FRESHET_KAFKA_PASSWORD", PASSWORD)
    log = KafkaLog.open(secure_kafka.address)
    log.create_topic("secured", 2)
    partitions = log.partitions("secured")
    with log.transaction("secured") as transaction:
        transaction.append([Append(partition, b"x") for partition in partitions])
        transaction.commit_offsets("group", {partitions[0]: 1})
    assert read_all(log, partitions) == [b"x", b"x"]
    assert log.committed_offsets("group", partitions) == {partitions[0]: 1}
    log.close()


@pytest.mark.kafka
def test_broker_with_tls_and_scram_refuses_a_wrong_password(
    secure_kafka: SecureKafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRESHET_KAFKA_USERNAME", USERNAME)
    monkeypatch.setenv("FRESHET_KAFKA_PASSWORD", "wrong-" + PASSWORD)
    with pytest.raises(InputError, match="check user, password") as raised:
        KafkaLog.open(secure_kafka.address)
    assert PASSWORD not in str(raised.value)


@pytest.mark.kafka
def test_broker_with_an_unknown_certificate_raises_unavailable_saying_so(
    secure_kafka: SecureKafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRESHET_KAFKA_USERNAME", USERNAME)
    monkeypatch.setenv("FRESHET_KAFKA_PASSWORD", PASSWORD)
    address = f"kafka://127.0.0.1:{secure_kafka.port}?security_protocol=SASL_SSL&connect_timeout_seconds=10"
    with pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
        KafkaLog.open(address)

"""Fixtures that several packages' tests share: a Kafka broker, and an event log of either kind."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from streams.log.event_log import EventLog, TopicPartition, open_log
from tests.support.kafka_server import KafkaServer, new_server

pytest_plugins = ["tests.support.store_fixtures"]

_TOPIC_NUMBERS = itertools.count()
# kafka-python reads its schemas so, and leaves sockets that never connected to the garbage collector.
_KAFKA_CLIENT_WARNINGS = (
    r"ignore:(read|open)_text is deprecated:DeprecationWarning",
    r"ignore:unclosed <socket\.socket .*laddr=\('0\.0\.0\.0', \d+\)>:ResourceWarning",
    r"ignore:unclosed <ssl\.SSLSocket:ResourceWarning",
)


def pytest_configure(config: pytest.Config) -> None:
    # How long inputs take to draw says how busy the machine is, not whether a property holds.
    settings.register_profile("any-machine", suppress_health_check=[HealthCheck.too_slow], deadline=None)
    settings.load_profile("any-machine")
    for warning in _KAFKA_CLIENT_WARNINGS:
        config.addinivalue_line("filterwarnings", warning)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A running broker for the whole session; mark the test `kafka`."""
    server = new_server(tmp_path_factory.mktemp("kafka"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def log_address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a log of each kind; on Kafka other tests' topics are there too."""
    if request.param == "embedded":
        return f"embedded:{tmp_path / 'log'}"
    server: KafkaServer = request.getfixturevalue("kafka")
    return server.address


@pytest.fixture
def open_another(log_address: str) -> Iterator[Callable[[], EventLog]]:
    """Opens one more log object on the same log, as another process would."""
    opened: list[EventLog] = []

    def open_it() -> EventLog:
        opened.append(open_log(log_address))
        return opened[-1]

    yield open_it
    for log in opened:
        log.close()


@pytest.fixture
def log(open_another: Callable[[], EventLog]) -> EventLog:
    """An open event log of each kind."""
    return open_another()


@pytest.fixture
def new_topic(log: EventLog) -> Callable[[int], list[TopicPartition]]:
    """Makes a topic of so many partitions under a name of its own."""

    def create(partitions: int) -> list[TopicPartition]:
        topic = f"test-{next(_TOPIC_NUMBERS)}-{id(log):x}"
        log.create_topic(topic, partitions)
        return log.partitions(topic)

    return create

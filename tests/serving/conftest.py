"""Fixtures: a Valkey and a log of the test's own; one published model and one gateway before it, a test file each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.log.event_log import EventLog, open_log
from tests.support.gateway import Http, config_for, gateway, wait_until_ready
from tests.support.serving_model import ModelWorld, model_world
from tests.support.valkey import ValkeyServer, valkey_server


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    """A Valkey that holds nothing yet."""
    with valkey_server() as running:
        yield running


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    """A log without topics."""
    opened = open_log(f"embedded:{tmp_path / 'log'}")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelWorld]:
    """A model, live on a log and a store of its own."""
    with model_world(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture(scope="module")
def http(world: ModelWorld) -> Iterator[Http]:
    """A client of a gateway that can score with it."""
    with gateway(config_for(world)) as http:
        wait_until_ready(http)
        yield http

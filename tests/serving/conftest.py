"""Fixtures of the gateway's tests: one published model and one gateway before it, a test file each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.gateway import Http, config_for, gateway, wait_until_ready
from tests.support.serving_model import ModelWorld, model_world


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

"""Fixtures: a Valkey and a log of the test's own, a published recommender, and a way to start a served one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.recommender.config import RecommenderConfig
from serving.recommender.service import RecommenderService
from streams.contract.recommend_wire import RECOMMENDER
from streams.log.event_log import EventLog, open_log
from streams.store.row_store import RowStore, open_row_store
from tests.support.patience import PATIENT
from tests.support.recommender_versions import PublishedRecommender, items_named
from tests.support.valkey import ValkeyServer, valkey_server

NAMES = ("a", "b", "c", "d", "e", "f", "g", "h")


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with valkey_server() as running:
        yield running


@pytest.fixture
def store(server: ValkeyServer) -> Iterator[RowStore]:
    opened = open_row_store(server.address, model=RECOMMENDER, password="")
    yield opened
    opened.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    opened = open_log(f"embedded:{tmp_path / 'log'}")
    yield opened
    opened.close()


@pytest.fixture
def model(log: EventLog, store: RowStore) -> PublishedRecommender:
    """Not begun."""
    return PublishedRecommender(log, store, items_named(*NAMES))


@pytest.fixture
def config(log: EventLog, server: ValkeyServer) -> RecommenderConfig:
    return RecommenderConfig(log=log.address, redis=server.address, live_poll_seconds=0.02, warm_up_likes=(0, 3),
                             **PATIENT)  # fmt: skip


@pytest.fixture
def start(config: RecommenderConfig) -> Iterator[Callable[..., RecommenderService]]:
    """Starts a recommender with changes to the config, and waits for a version."""
    services: list[RecommenderService] = []

    def start_it(version: int = 1, **changes: Any) -> RecommenderService:
        services.append(RecommenderService.start(replace(config, **changes), environment={}))
        assert services[-1].wait_for_version(version, 60)
        return services[-1]

    yield start_it
    for service in services:
        service.close()

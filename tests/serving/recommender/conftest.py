"""Fixtures: a recommender published on the test's own Valkey and log, and a way to start a served one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from serving.recommender.config import RecommenderConfig
from serving.recommender.recommender import Recommender
from serving.recommender.service import start_recommender
from streams.contract.recommend_wire import RECOMMENDER
from streams.log.event_log import EventLog
from streams.store.row_store import RowStore, open_row_store
from tests.support.patience import PATIENT
from tests.support.recommender_versions import PublishedRecommender, items_named
from tests.support.started_models import starting
from tests.support.valkey import ValkeyServer

NAMES = ("a", "b", "c", "d", "e", "f", "g", "h")


@pytest.fixture
def store(server: ValkeyServer) -> Iterator[RowStore]:
    opened = open_row_store(server.address, model=RECOMMENDER, password="")
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
def start(config: RecommenderConfig) -> Iterator[Callable[..., Recommender]]:
    """Starts a recommender with changes to the config, and waits for a version."""
    with starting(start_recommender, config) as start_it:
        yield start_it

"""Fixtures: a model published on the test's own Valkey and log, and a way to start a scorer of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from serving.scorer.config import ScorerConfig
from serving.scorer.scorer import Scorer
from serving.scorer.service import start_scorer
from streams.log.event_log import EventLog
from streams.store.row_store import RowStore, open_row_store
from tests.support.patience import PATIENT
from tests.support.published import MODEL, PublishedModel
from tests.support.started_models import starting
from tests.support.valkey import ValkeyServer


@pytest.fixture
def store(server: ValkeyServer) -> Iterator[RowStore]:
    opened = open_row_store(server.address, model=MODEL, password="")
    yield opened
    opened.close()


@pytest.fixture
def model(log: EventLog, store: RowStore) -> PublishedModel:
    return PublishedModel(log, store)


@pytest.fixture
def config(log: EventLog, server: ValkeyServer) -> ScorerConfig:
    return ScorerConfig(model=MODEL, log=log.address, redis=server.address, live_poll_seconds=0.02,
                        max_hot_rows=1000, warm_up_candidates=(1, 4), **PATIENT)  # fmt: skip


@pytest.fixture
def start(config: ScorerConfig) -> Iterator[Callable[..., Scorer]]:
    """Starts a scorer with changes to the config, and waits for a version."""
    with starting(start_scorer, config) as start_it:
        yield start_it

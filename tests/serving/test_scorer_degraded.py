"""The scorer while Kafka is away: it scores, says that it is stale, and catches up."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from serving.scorer.config import ScorerConfig
from serving.scorer.scorer import Answer, Scorer
from serving.scorer.service import start_scorer
from streams.contract.columns import Jagged
from streams.contract.features import FeatureBatch
from streams.contract.values import ids_of
from streams.contract.wire import STALE_UPDATES, pack_request
from streams.log.event_log import open_log
from streams.store.row_store import open_row_store
from tests.support.kafka_server import KafkaServer, new_server
from tests.support.published import MODEL, PublishedModel
from tests.support.valkey import valkey_server, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[KafkaServer]:
    server = new_server(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def request_of(model: PublishedModel) -> FeatureBatch:
    return model.transform(
        {"user": ["ann"], "history": Jagged(["a"], np.array([1], dtype=np.int32))},
        {"article": ["a", "b"], "age": np.zeros(2)},
        np.zeros(2, dtype=np.int32),
        num_requests=1,
    )


def scored(service: Scorer, model: PublishedModel) -> Answer:
    result = service.score([pack_request(request_of(model), model.schema.hash)])[0]
    assert isinstance(result, Answer)
    return result


def is_stale(service: Scorer) -> bool:
    return bool(service.info().flags & STALE_UPDATES)


def publish_articles(model: PublishedModel, seed: int) -> None:
    ids = ids_of(model.schema.feature("article"), ["a", "b"]).tolist()
    model.change_dense(seed)
    model.publish({"article": model.random_rows(ids, seed)["article"]})


def test_log_away_scores_are_flagged_stale_and_catch_up_when_it_is_back(broker: KafkaServer) -> None:
    with valkey_server() as redis:
        log = open_log(broker.address)
        store = open_row_store(redis.address, model=MODEL, password="")
        model = PublishedModel(log, store)
        model.begin()
        publish_articles(model, 1)
        config = ScorerConfig(model=MODEL, log=broker.address, redis=redis.address, stale_after_seconds=0.5,
                              store_timeout_seconds=30.0)  # fmt: skip
        running = start_scorer(config, environment={})
        assert running.wait_for_version(2, 60)
        broker.kill()
        started_without_log = start_scorer(config, environment={})
        assert started_without_log.wait_for_version(2, 60)
        expected = model.expected(request_of(model))
        for service in (running, started_without_log):
            wait_until(partial(is_stale, service), "staleness was not noticed")
            answer = scored(service, model)
            np.testing.assert_allclose(answer.probabilities, expected, atol=1e-6)
            assert answer.info.flags == STALE_UPDATES
        broker.start()
        publish_articles(model, 2)
        expected = model.expected(request_of(model))
        for service in (running, started_without_log):
            assert service.wait_for_version(3, 60)
            np.testing.assert_allclose(scored(service, model).probabilities, expected, atol=1e-6)
            wait_until(lambda service=service: not is_stale(service), "it goes on telling that it is stale")  # type: ignore[misc]
            service.close()
        store.close()
        log.close()

"""The scorer on a real log and a real store: which version it scores with, and what with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from serving.scorer.config import ScorerConfig
from serving.scorer.scorer import Answer, Refusal, Result
from serving.scorer.service import ScorerService
from serving.scorer.updates import UPDATES
from streams.contract.columns import Array, Jagged
from streams.contract.features import FeatureBatch
from streams.contract.rows import generation_key
from streams.contract.values import ids_of
from streams.contract.wire import (
    DEFAULTS_USED_FOR_MISSES,
    STALE_UPDATES,
    STORE_UNAVAILABLE,
    pack_probe,
    pack_request,
)
from streams.log.event_log import Append, EventLog, open_log
from streams.store.row_store import RowStore, open_row_store
from tests.support.patience import PATIENT
from tests.support.published import MODEL, PublishedModel
from tests.support.valkey import ValkeyServer, valkey_server, wait_until

TOLERANCE = 1e-6


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with valkey_server() as running:
        yield running


@pytest.fixture
def store(server: ValkeyServer) -> Iterator[RowStore]:
    opened = open_row_store(server.address, model=MODEL, password="")
    yield opened
    opened.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    opened = open_log(f"embedded:{tmp_path / 'log'}")
    yield opened
    opened.close()


@pytest.fixture
def model(log: EventLog, store: RowStore) -> PublishedModel:
    return PublishedModel(log, store)


@pytest.fixture
def config(log: EventLog, server: ValkeyServer) -> ScorerConfig:
    return ScorerConfig(model=MODEL, log=log.address, redis=server.address, live_poll_seconds=0.02,
                        warm_up_candidates=(1, 4), **PATIENT)  # fmt: skip


@pytest.fixture
def start(config: ScorerConfig) -> Iterator[Callable[..., ScorerService]]:
    """Starts a scorer with changes to the config, and waits for a version."""
    services: list[ScorerService] = []

    def start_it(version: int = 1, *, max_hot_rows: int = 1000, **changes: float) -> ScorerService:
        changed = replace(config, max_hot_rows=max_hot_rows, **changes)  # type: ignore[arg-type]
        services.append(ScorerService.start(changed, environment={}))
        assert services[-1].wait_for_version(version, 60)
        return services[-1]

    yield start_it
    for service in services:
        service.close()


def request_of(model: PublishedModel, articles: list[str], history: list[str], user: str = "ann") -> FeatureBatch:
    """One request: its candidates are articles of rising age."""
    lengths = np.array([len(history)], dtype=np.int32)
    return model.transform(
        {"user": [user], "history": Jagged(list(history), lengths)},
        {"article": list(articles), "age": np.arange(len(articles), dtype=np.float64)},
        np.zeros(len(articles), dtype=np.int32),
        num_requests=1,
    )


def ids_of_articles(model: PublishedModel, articles: list[str]) -> list[int]:
    ids: list[int] = ids_of(model.schema.feature("article"), articles).tolist()
    return ids


def article_rows(model: PublishedModel, articles: list[str], seed: int = 0) -> dict[str, dict[int, Array]]:
    rows = model.random_rows(ids_of_articles(model, articles), seed)
    return {"article": rows["article"]}


def scored(service: ScorerService, model: PublishedModel, batch: FeatureBatch) -> Answer:
    result = service.score([pack_request(batch, model.schema.hash)])[0]
    assert isinstance(result, Answer), result
    return result


def refused(result: Result) -> str:
    assert isinstance(result, Refusal)
    return result.message


def assert_scores(answer: Answer, model: PublishedModel, batch: FeatureBatch) -> None:
    """The answer is the plain network's on the model's present rows."""
    assert answer.info.version == model.version
    np.testing.assert_allclose(answer.probabilities, model.expected(batch), atol=TOLERANCE, rtol=0)


def assert_catches_up(
    patient: ScorerService, other: ScorerService, model: PublishedModel, batch: FeatureBatch, append: Callable[[], None]
) -> None:
    """Asked before the log has the version, the patient scorer answers with it; the other one does from then on."""
    with ThreadPoolExecutor(1) as asking:
        answer = asking.submit(scored, patient, model, batch)
        append()
        assert_scores(answer.result(), model, batch)
    assert other.wait_for_version(model.version, 60)
    assert_scores(scored(other, model, batch), model, batch)


def test_scores_equal_the_plain_networks(model: PublishedModel, start: Callable[..., ScorerService]) -> None:
    model.change_dense(1)
    model.begin()
    model.publish(article_rows(model, ["a", "b", "c"]))
    service = start(2)
    batch = request_of(model, ["a", "b", "unheard of", "c"], ["b", "c", "also unheard of"])
    answer = scored(service, model, batch)
    assert_scores(answer, model, batch)
    assert answer.info.flags == 0
    assert (answer.info.newest_ingest_ms, answer.info.newest_event_time_ms) == (1002, 2)


def test_several_requests_in_one_batch_score_as_if_alone(
    model: PublishedModel, start: Callable[..., ScorerService]
) -> None:
    model.change_dense(1)
    model.begin()
    model.publish(article_rows(model, ["a", "b", "c"]))
    service = start(2)
    batches = [
        request_of(model, ["a", "b"], ["c"]),
        request_of(model, ["c"], [], user="bob"),
        request_of(model, ["b", "x", "a"], ["a", "a", "y"], user="cat"),
    ]
    results = service.score([pack_request(batch, model.schema.hash) for batch in batches])
    for result, batch in zip(results, batches, strict=True):
        assert isinstance(result, Answer)
        assert_scores(result, model, batch)


def test_unknown_ids_score_with_the_default_row_and_are_asked_for_once(
    model: PublishedModel, start: Callable[..., ScorerService]
) -> None:
    model.change_dense(3)
    model.begin()
    service = start()
    batch = request_of(model, ["never seen"], ["nor this"])
    first, second = scored(service, model, batch), scored(service, model, batch)
    assert_scores(first, model, batch)
    assert (first.info.num_misses, second.info.num_misses) == (3, 0)


def test_version_from_the_log_is_applied_before_the_store_has_it(
    model: PublishedModel, start: Callable[..., ScorerService]
) -> None:
    model.begin()
    service = start()
    batch = request_of(model, ["a", "b"], ["a"])
    scored(service, model, batch)
    model.change_dense(4)
    model.publish(article_rows(model, ["a", "b"]), to_store=False)
    assert service.wait_for_version(2, 60)
    assert_scores(scored(service, model, batch), model, batch)


def test_tombstone_takes_the_row_away_while_the_store_still_has_it(
    model: PublishedModel, start: Callable[..., ScorerService]
) -> None:
    model.begin()
    model.publish(article_rows(model, ["a", "b"]))
    service = start(2)
    batch = request_of(model, ["a", "b"], ["a"])
    scored(service, model, batch)
    model.publish(tombstones={"article": ids_of_articles(model, ["a"])}, to_store=False)
    assert service.wait_for_version(3, 60)
    answer = scored(service, model, batch)
    assert_scores(answer, model, batch)
    assert answer.info.num_misses == 0


def test_row_that_comes_back_after_its_tombstone_is_used(
    model: PublishedModel, start: Callable[..., ScorerService]
) -> None:
    model.begin()
    model.publish(article_rows(model, ["a"]))
    model.publish(tombstones={"article": ids_of_articles(model, ["a"])})
    service = start(3)
    batch = request_of(model, ["a"], [])
    assert_scores(scored(service, model, batch), model, batch)
    model.publish(article_rows(model, ["a"], seed=9))
    assert service.wait_for_version(4, 60)
    assert_scores(scored(service, model, batch), model, batch)


def test_miss_that_is_newer_than_the_scorer_makes_it_catch_up_first(
    model: PublishedModel, start: Callable[..., ScorerService]
) -> None:
    model.change_dense(1)
    model.begin()
    service, patient = start(max_hot_rows=2), start(max_hot_rows=2, catch_up_timeout_seconds=60)
    # The store is written first here, as a slow log would look to a scorer.
    model.change_dense(2)
    update = model.next_version(article_rows(model, ["new"]), {})
    model.write(update)
    batch = request_of(model, ["new"], [])
    before = scored(service, model, batch)
    assert before.info.version == 1
    assert before.info.flags & (DEFAULTS_USED_FOR_MISSES | STALE_UPDATES)
    assert_catches_up(patient, service, model, batch, lambda: model.append(update))


def test_removal_that_is_newer_than_the_scorer_makes_it_catch_up_first(
    model: PublishedModel, start: Callable[..., ScorerService]
) -> None:
    model.change_dense(1)
    model.begin()
    model.publish(article_rows(model, ["a", "b", "c"]))
    service, patient = start(2, max_hot_rows=1), start(2, max_hot_rows=1, catch_up_timeout_seconds=60)
    for each in (service, patient):
        scored(each, model, request_of(model, ["b"], []))
        scored(each, model, request_of(model, ["c"], []))
    removal = model.next_version({}, {"article": ids_of_articles(model, ["a"])})
    model.write(removal)
    batch = request_of(model, ["a"], [])
    before = scored(service, model, batch)
    assert before.info.version == 2
    assert before.info.flags == DEFAULTS_USED_FOR_MISSES | STALE_UPDATES
    assert_catches_up(patient, service, model, batch, lambda: model.append(removal))


def test_version_whose_parent_never_came_makes_the_scorer_load_again(
    model: PublishedModel, start: Callable[..., ScorerService]
) -> None:
    model.begin()
    service = start()
    lost = model.next_version(article_rows(model, ["a"]), {})
    model.write(lost)
    model.publish(article_rows(model, ["b"], seed=1))
    assert service.wait_for_version(3, 60)
    batch = request_of(model, ["a", "b"], [])
    assert_scores(scored(service, model, batch), model, batch)


def test_damaged_record_in_the_log_is_passed_over(model: PublishedModel, start: Callable[..., ScorerService]) -> None:
    model.begin()
    service = start()
    model.log.append([Append(UPDATES, b"not a record")])
    model.publish(article_rows(model, ["a"]))
    assert service.wait_for_version(2, 60)
    batch = request_of(model, ["a"], [])
    assert_scores(scored(service, model, batch), model, batch)


def test_dense_part_ahead_of_the_head_is_completed_from_the_log(
    model: PublishedModel, start: Callable[..., ScorerService], server: ValkeyServer
) -> None:
    model.change_dense(1)
    model.begin()
    key = generation_key(MODEL, 1, "head")
    with server.client() as client:
        head = client.get(key)
        model.change_dense(2)
        model.publish(article_rows(model, ["a"]))
        client.set(key, head)
    service = start(2)
    batch = request_of(model, ["a"], [])
    assert_scores(scored(service, model, batch), model, batch)


def test_rows_beyond_the_capacity_are_evicted_and_fetched_again(
    model: PublishedModel, start: Callable[..., ScorerService]
) -> None:
    names = [f"article {n}" for n in range(40)]
    model.change_dense(1)
    model.begin()
    model.publish(article_rows(model, names))
    service = start(2, max_hot_rows=8)
    for at in range(0, 40, 4):
        batch = request_of(model, names[at : at + 4], [])
        assert_scores(scored(service, model, batch), model, batch)
    batch = request_of(model, names[:4], [])
    answer = scored(service, model, batch)
    assert_scores(answer, model, batch)
    assert answer.info.num_misses > 0
    assert service.stats().num_hot_rows <= 8


def test_rows_not_yet_in_the_store_are_not_evicted(model: PublishedModel, start: Callable[..., ScorerService]) -> None:
    names = [f"article {n}" for n in range(40)]
    model.change_dense(1)
    model.begin()
    service = start(max_hot_rows=8)
    model.publish(article_rows(model, names), to_store=False)
    assert service.wait_for_version(2, 60)
    for at in range(0, 40, 4):
        batch = request_of(model, names[at : at + 4], [])
        answer = scored(service, model, batch)
        assert_scores(answer, model, batch)
        assert answer.info.num_misses <= 1


def test_live_pointer_switches_rows_and_dense_part_together(
    model: PublishedModel, start: Callable[..., ScorerService], log: EventLog, store: RowStore
) -> None:
    model.change_dense(1)
    model.begin()
    model.publish(article_rows(model, ["a", "b"]))
    service = start(2)
    second = PublishedModel(log, store, generation=2, first_version=3)
    second.change_dense(2)
    second.begin(live=False)
    second.publish(article_rows(second, ["a", "b"], seed=5))
    batch = request_of(model, ["a", "b"], ["b"])
    assert_scores(scored(service, model, batch), model, batch)
    store.promote(2)
    assert service.wait_for_version(4, 60)
    assert_scores(scored(service, second, batch), second, batch)
    store.rollback(1)
    wait_until(lambda: service.info().generation == 1, "the scorer did not roll back")
    assert_scores(scored(service, model, batch), model, batch)


def test_versions_of_other_generations_are_not_applied(
    model: PublishedModel, start: Callable[..., ScorerService], log: EventLog, store: RowStore
) -> None:
    model.begin()
    service = start()
    other = PublishedModel(log, store, generation=2, first_version=10)
    other.begin(live=False)
    model.publish(article_rows(model, ["a"]))
    assert service.wait_for_version(2, 60)
    assert service.info().version == 2


def test_store_away_answers_with_hot_rows_and_defaults_and_says_so(
    model: PublishedModel, start: Callable[..., ScorerService], server: ValkeyServer
) -> None:
    model.change_dense(1)
    model.begin()
    model.publish(article_rows(model, ["a"]))
    service = start(2)
    server.kill()
    hot = request_of(model, ["a"], ["a"])
    missing = request_of(model, ["a", "new"], [])
    answer = scored(service, model, missing)
    assert answer.info.flags == STORE_UNAVAILABLE | DEFAULTS_USED_FOR_MISSES
    assert_scores(answer, model, missing)
    model.publish(article_rows(model, ["new"], seed=2), to_store=False)
    assert service.wait_for_version(3, 60)
    assert_scores(scored(service, model, missing), model, missing)
    assert_scores(scored(service, model, hot), model, hot)


def test_store_that_lost_its_rows_is_taken_for_away_until_they_are_back(
    model: PublishedModel, start: Callable[..., ScorerService], server: ValkeyServer, store: RowStore
) -> None:
    model.change_dense(1)
    model.begin()
    model.publish(article_rows(model, ["a", "b"]))
    service = start(2, max_hot_rows=1)
    server.kill()
    server.start()
    others = (request_of(model, [f"other {number}"], []) for number in count())
    wait_until(lambda: bool(scored(service, model, next(others)).info.flags), "the loss was not noticed")
    model.write_generation()
    model.publish({"article": model.rows["article"]})
    store.set_live(1)
    assert service.wait_for_version(model.version, 60)
    wait_until(lambda: not scored(service, model, next(others)).info.flags, "the store's return was not noticed")
    batch = request_of(model, ["a", "b"], [])
    assert_scores(scored(service, model, batch), model, batch)


def test_new_scorer_starts_at_the_newest_version(model: PublishedModel, start: Callable[..., ScorerService]) -> None:
    model.begin()
    for seed in range(4):
        model.change_dense(seed)
        model.publish(article_rows(model, ["a", "b"], seed=seed))
    model.change_dense(7)
    model.publish(article_rows(model, ["b"], seed=7), to_store=False)
    service = start(6)
    batch = request_of(model, ["a", "b"], ["a"])
    assert_scores(scored(service, model, batch), model, batch)


def test_quantised_rows_score_the_same_from_log_and_store(
    log: EventLog, store: RowStore, start: Callable[..., ScorerService]
) -> None:
    model = PublishedModel(log, store, encoding="int8")
    model.change_dense(1)
    model.begin()
    first = start()
    model.publish(article_rows(model, ["a", "b"]))
    second = start(2)
    assert first.wait_for_version(2, 60)
    batch = request_of(model, ["a", "b"], ["b"])
    of_log, of_store = scored(first, model, batch), scored(second, model, batch)
    np.testing.assert_array_equal(of_log.probabilities, of_store.probabilities)
    np.testing.assert_allclose(of_log.probabilities, model.expected(batch), atol=0.01)


def test_applied_versions_are_reported(
    model: PublishedModel, start: Callable[..., ScorerService], store: RowStore
) -> None:
    model.begin()
    start()
    model.publish(article_rows(model, ["a"]))
    wait_until(lambda: 2 in store.applied(1), "the application of version 2 was not reported")


def test_request_of_another_schema_is_refused_and_spoils_no_other(
    model: PublishedModel, start: Callable[..., ScorerService]
) -> None:
    model.begin()
    service = start()
    batch = request_of(model, ["a"], [])
    bad = pack_request(batch, "00000000000000ff")
    broken = pack_request(batch, model.schema.hash) | {"candidate_ids": np.zeros((1, 5), dtype=np.int64)}
    results = service.score([bad, pack_request(batch, model.schema.hash), broken, pack_probe()])
    assert refused(results[0]).startswith("schema_mismatch: ")
    assert isinstance(results[1], Answer)
    assert_scores(results[1], model, batch)
    assert refused(results[2]).startswith("invalid_input: candidate_ids: ")
    assert isinstance(results[3], Answer)
    assert results[3].info.version == 1


def test_without_a_generation_requests_are_refused_and_the_probe_says_version_0(
    config: ScorerConfig, model: PublishedModel
) -> None:
    service = ScorerService.start(config, environment={})
    try:
        results = service.score([pack_request(request_of(model, ["a"], []), model.schema.hash), pack_probe()])
        assert refused(results[0]).startswith("not_ready: ")
        assert isinstance(results[1], Answer)
        assert results[1].info.version == 0
    finally:
        service.close()

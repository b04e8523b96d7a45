"""What a scorer scores with, on a real log and a real store: the plain network's own probabilities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from serving.scorer.config import ScorerConfig
from serving.scorer.scorer import Answer, Scorer
from serving.scorer.service import start_scorer
from streams.contract.wire import pack_probe, pack_request
from streams.log.event_log import EventLog
from streams.store.row_store import RowStore
from tests.support.published import PublishedModel
from tests.support.scoring import article_rows, assert_scores, refused, request_of, scored


def test_scores_equal_the_plain_networks(model: PublishedModel, start: Callable[..., Scorer]) -> None:
    model.change_dense(1)
    model.begin()
    model.publish(article_rows(model, ["a", "b", "c"]))
    service = start(2)
    batch = request_of(model, ["a", "b", "unheard of", "c"], ["b", "c", "also unheard of"])
    answer = scored(service, model, batch)
    assert_scores(answer, model, batch)
    assert answer.info.flags == 0
    assert (answer.info.newest_ingest_ms, answer.info.newest_event_time_ms) == (1002, 2)


def test_several_requests_in_one_batch_score_as_if_alone(model: PublishedModel, start: Callable[..., Scorer]) -> None:
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
    model: PublishedModel, start: Callable[..., Scorer]
) -> None:
    model.change_dense(3)
    model.begin()
    service = start()
    batch = request_of(model, ["never seen"], ["nor this"])
    first, second = scored(service, model, batch), scored(service, model, batch)
    assert_scores(first, model, batch)
    assert (first.info.num_misses, second.info.num_misses) == (3, 0)


def test_quantised_rows_score_the_same_from_log_and_store(
    log: EventLog, store: RowStore, start: Callable[..., Scorer]
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


def test_request_of_another_schema_is_refused_and_spoils_no_other(
    model: PublishedModel, start: Callable[..., Scorer]
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
    service = start_scorer(config, environment={})
    try:
        results = service.score([pack_request(request_of(model, ["a"], []), model.schema.hash), pack_probe()])
        assert refused(results[0]).startswith("not_ready: ")
        assert isinstance(results[1], Answer)
        assert results[1].info.version == 0
    finally:
        service.close()

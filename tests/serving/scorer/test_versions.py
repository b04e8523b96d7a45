"""Which version a scorer scores with, whichever of log and store has it first."""

from __future__ import annotations

from collections.abc import Callable

from serving.scorer.scorer import Scorer
from serving.scorer.updates import UPDATES
from streams.contract.rows import generation_key
from streams.contract.wire import DEFAULTS_USED_FOR_MISSES, STALE_UPDATES
from streams.log.event_log import Append, EventLog
from streams.store.row_store import RowStore
from tests.support.published import MODEL, PublishedModel
from tests.support.scoring import article_rows, assert_catches_up, assert_scores, ids_of_articles, request_of, scored
from tests.support.valkey import ValkeyServer, wait_until


def test_version_from_the_log_is_applied_before_the_store_has_it(
    model: PublishedModel, start: Callable[..., Scorer]
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
    model: PublishedModel, start: Callable[..., Scorer]
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


def test_row_that_comes_back_after_its_tombstone_is_used(model: PublishedModel, start: Callable[..., Scorer]) -> None:
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
    model: PublishedModel, start: Callable[..., Scorer]
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
    model: PublishedModel, start: Callable[..., Scorer]
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
    model: PublishedModel, start: Callable[..., Scorer]
) -> None:
    model.begin()
    service = start()
    lost = model.next_version(article_rows(model, ["a"]), {})
    model.write(lost)
    model.publish(article_rows(model, ["b"], seed=1))
    assert service.wait_for_version(3, 60)
    batch = request_of(model, ["a", "b"], [])
    assert_scores(scored(service, model, batch), model, batch)


def test_damaged_record_in_the_log_is_passed_over(model: PublishedModel, start: Callable[..., Scorer]) -> None:
    model.begin()
    service = start()
    model.log.append([Append(UPDATES, b"not a record")])
    model.publish(article_rows(model, ["a"]))
    assert service.wait_for_version(2, 60)
    batch = request_of(model, ["a"], [])
    assert_scores(scored(service, model, batch), model, batch)


def test_dense_part_ahead_of_the_head_is_completed_from_the_log(
    model: PublishedModel, start: Callable[..., Scorer], server: ValkeyServer
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


def test_live_pointer_switches_rows_and_dense_part_together(
    model: PublishedModel, start: Callable[..., Scorer], log: EventLog, store: RowStore
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
    model: PublishedModel, start: Callable[..., Scorer], log: EventLog, store: RowStore
) -> None:
    model.begin()
    service = start()
    other = PublishedModel(log, store, generation=2, first_version=10)
    other.begin(live=False)
    model.publish(article_rows(model, ["a"]))
    assert service.wait_for_version(2, 60)
    assert service.info().version == 2


def test_new_scorer_starts_at_the_newest_version(model: PublishedModel, start: Callable[..., Scorer]) -> None:
    model.begin()
    for seed in range(4):
        model.change_dense(seed)
        model.publish(article_rows(model, ["a", "b"], seed=seed))
    model.change_dense(7)
    model.publish(article_rows(model, ["b"], seed=7), to_store=False)
    service = start(6)
    batch = request_of(model, ["a", "b"], ["a"])
    assert_scores(scored(service, model, batch), model, batch)


def test_applied_versions_are_reported(model: PublishedModel, start: Callable[..., Scorer], store: RowStore) -> None:
    model.begin()
    start()
    model.publish(article_rows(model, ["a"]))
    wait_until(lambda: 2 in store.applied(1), "the application of version 2 was not reported")

"""Which rows a scorer holds in memory, and what it does where the store has none."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from serving.scorer.scorer import Scorer
from streams.contract.wire import DEFAULTS_USED_FOR_MISSES, STORE_UNAVAILABLE
from streams.store.row_store import RowStore
from tests.support.published import PublishedModel
from tests.support.scoring import article_rows, assert_scores, request_of, scored
from tests.support.valkey import ValkeyServer, wait_until


def test_rows_beyond_the_capacity_are_evicted_and_fetched_again(
    model: PublishedModel, start: Callable[..., Scorer]
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


def test_rows_not_yet_in_the_store_are_not_evicted(model: PublishedModel, start: Callable[..., Scorer]) -> None:
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


def test_store_away_answers_with_hot_rows_and_defaults_and_says_so(
    model: PublishedModel, start: Callable[..., Scorer], server: ValkeyServer
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
    model: PublishedModel, start: Callable[..., Scorer], server: ValkeyServer, store: RowStore
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

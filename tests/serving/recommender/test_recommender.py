"""The recommender on a real log and a real store: what it recommends, and by which version."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from serving.recommender.config import RecommenderConfig
from serving.recommender.recommender import Recommender
from serving.recommender.service import start_recommender
from serving.scorer.scorer import Refusal
from streams.contract.recommend_wire import (
    CACHED_STATE,
    UNKNOWN_ITEMS,
    UNKNOWN_USER,
    RecommendAnswer,
    RecommendRequest,
    pack_recommend,
)
from streams.log.event_log import EventLog
from streams.store.row_store import RowStore
from tests.support.recommender_versions import PublishedRecommender, items_named, nameless_config, small_config
from tests.support.recommending import answer_of, answers_of, assert_recommends, expected_items, request_of
from tests.support.valkey import wait_until

Start = Callable[..., Recommender]


def test_items_and_scores_are_those_of_the_language_model_alone(model: PublishedRecommender, start: Start) -> None:
    model.begin(users=["ann"])
    model.publish(histories={"ann": [2, 5, 1]})
    service = start(2)
    answer = answer_of(service, "ann", 4)
    assert_recommends(answer, expected_items(model, "ann", 4))
    assert (answer.version, answer.generation, answer.num_items, answer.flags) == (2, 1, 8, [])
    assert (answer.newest_ingest_ms, answer.newest_event_time_ms) == (1002, 2)


def test_users_asked_for_together_get_what_each_gets_alone(model: PublishedRecommender, start: Start) -> None:
    users = [f"user {number}" for number in range(40)]
    model.begin(users=users[::2])
    model.publish(histories={user: [number % 8] * (number % 5) for number, user in enumerate(users)})
    service = start(2, max_states=0, state_seconds=0)
    answers = answers_of(service, *(request_of(user, 3) for user in users))
    for user, answer in zip(users, answers, strict=True):
        assert_recommends(answer, expected_items(model, user, 3))
        alone = answer_of(service, user, 3)
        assert_recommends(answer, [(item.item_id, item.score) for item in alone.items])


def test_temperature_of_a_version_makes_scores_less_sure_and_moves_no_item(
    model: PublishedRecommender, start: Start
) -> None:
    model.begin(users=["ann"])
    model.publish(histories={"ann": [2, 5]})
    service = start()
    assert service.wait_for_version(2, 60)
    sure = answer_of(service, "ann", 8)
    model.temperature = 4.0
    model.publish(histories={"ann": [2, 5]})
    assert service.wait_for_version(3, 60)
    for served in (service, start()):
        assert served.wait_for_version(3, 60)
        assert_recommends(answer := answer_of(served, "ann", 8), expected_items(model, "ann", 8))
        assert [item.item_id for item in answer.items] == [item.item_id for item in sure.items]
        assert answer.items[0].score < sure.items[0].score


def test_history_of_the_request_stands_in_the_place_of_the_streams(model: PublishedRecommender, start: Start) -> None:
    model.begin(users=["ann"])
    model.publish(histories={"ann": [2]})
    answer = answer_of(start(2), "ann", 8, history=["e", "nobody's", "a"])
    assert_recommends(answer, expected_items(model, "ann", 8, history=[4, 0]))
    assert answer.flags == [UNKNOWN_ITEMS]


def test_prompt_may_be_kept_short_and_older_likes_are_not_recommended_all_the_same(
    model: PublishedRecommender, start: Start
) -> None:
    model.begin(users=["ann"])
    model.publish(histories={"ann": [2, 5, 1]})
    answer = answer_of(start(2, max_likes=2), "ann", 8)
    assert_recommends(answer, expected_items(model, "ann", 8, history=[5, 1], exclude=[2]))


def test_user_of_whom_nothing_is_known_is_served_by_the_history_and_flagged(
    model: PublishedRecommender, start: Start
) -> None:
    model.begin(users=["ann"])
    service = start()
    answer = answer_of(service, "bob", 3, history=["b"])
    assert_recommends(answer, expected_items(model, "bob", 3, history=[1]))
    assert answer.flags == [UNKNOWN_USER]
    assert UNKNOWN_USER in answer_of(service, "bob", 3).flags
    model.publish(histories={"bob": [1]})
    assert service.wait_for_version(2, 60)
    answer = answer_of(service, "bob", 3)
    assert_recommends(answer, expected_items(model, "bob", 3))
    assert answer.flags == []


def test_where_training_named_no_users_the_history_alone_counts_and_no_user_is_looked_up(
    log: EventLog, store: RowStore, start: Start
) -> None:
    model = PublishedRecommender(log, store, items_named(*"abcdefgh"), config=nameless_config(), path_rank=2)
    model.begin(users=["ann"])
    model.publish(histories={"ann": [2, 5, 1]})
    service = start(2)
    answers = answers_of(service, *(request_of(user, 4, history=["c", "f", "b"]) for user in ("ann", "bob")))
    for answer in (*answers, answer_of(service, "ann", 4)):
        assert_recommends(answer, expected_items(model, "ann", 4))
        assert set(answer.flags) <= {CACHED_STATE}
    assert service.stats().num_misses == 0
    assert answer_of(service, "bob", 4).flags == [UNKNOWN_USER]


def test_excluded_items_are_left_out_and_the_others_keep_their_scores(
    model: PublishedRecommender, start: Start
) -> None:
    model.begin(users=["ann"])
    service = start()
    answer = answer_of(service, "ann", 8, exclude=["a", "h", "nobody's"])
    assert_recommends(answer, expected_items(model, "ann", 8, exclude=[0, 7]))
    assert len(answer.items) == 6


def test_more_items_than_are_left_means_fewer_items(model: PublishedRecommender, start: Start) -> None:
    model.begin(users=["ann"])
    service = start()
    answers = answers_of(
        service,
        request_of("ann", 1000, history=["a", "b"]),
        request_of("ann", 2, exclude=[item.name for item in model.items]),
        request_of("ann", 2),
    )
    assert [len(answer.items) for answer in answers] == [6, 0, 2]


def test_features_come_where_they_are_asked_for(model: PublishedRecommender, start: Start) -> None:
    model.begin()
    service = start()
    assert [item.features for item in answer_of(service, "ann", 2).items] == [None, None]
    for item in answer_of(service, "ann", 3, with_features=True).items:
        assert item.features == {"category": item.item_id}


def test_what_the_history_says_beside_the_language_model_counts_and_new_items_do_without(
    log: EventLog, store: RowStore, start: Start
) -> None:
    model = PublishedRecommender(log, store, items_named(*"abcdef"), path_rank=3)
    model.begin(users=["ann"])
    model.publish(histories={"ann": [2, 6, 0]}, new_items=items_named("g", "h"), items=model.random_rows([6, 7], 4))
    service = start(2)
    answer, again = answer_of(service, "ann", 8), answer_of(service, "ann", 8)
    assert_recommends(answer, expected_items(model, "ann", 8))
    assert again.flags == [CACHED_STATE]
    assert again.items == answer.items
    model.path_rank = 0
    without = dict(expected_items(model, "ann", 8))
    assert max(abs(without[item.item_id] - item.score) for item in answer.items) > 0.1


def test_item_without_a_row_is_not_ranked(model: PublishedRecommender, start: Start) -> None:
    model.begin(users=["ann"])
    service = start()
    model.publish(gone=[3])
    model.item_rows.pop(4)
    model.publish(items={4: np.zeros(model.width + 1, dtype=np.float32)})
    model.item_rows.pop(4)
    assert service.wait_for_version(3, 60)
    answer = answer_of(service, "ann", 8)
    assert_recommends(answer, expected_items(model, "ann", 8))
    assert not {"d", "e"} & {item.item_id for item in answer.items}
    assert answer.num_items == 8


def test_new_items_enlarge_the_catalogue_beyond_the_places_of_its_start(
    model: PublishedRecommender, start: Start
) -> None:
    model.begin(users=["ann"])
    service = start()
    assert answer_of(service, "ann", 3, history=["new 7"]).flags == [UNKNOWN_ITEMS]
    for count in (10, 3000):
        first = len(model.items)
        names = items_named(*(f"new {first + number - 1}" for number in range(count)))
        model.publish(items=model.random_rows(range(first, first + count), count), new_items=names)
        assert service.wait_for_version(model.version, 60)
        answer = answer_of(service, "ann", 20, history=["new 7", "b"])
        assert_recommends(answer, expected_items(model, "ann", 20, history=[8, 1]))
        assert answer.num_items == first + count
        assert answer.flags == []
    assert_recommends(answer_of(start(3), "ann", 20), expected_items(model, "ann", 20))


def test_version_is_applied_before_the_store_has_it(model: PublishedRecommender, start: Start) -> None:
    model.begin(users=["ann"])
    service = start(max_hot_rows=1)
    model.publish(
        items=model.random_rows(range(4), 9), users={"ann": model.random_rows([0], 8)[0], "bob": np.ones(17)},
        histories={"ann": [3], "bob": [1, 2]}, new_items=items_named("new"), to_store=False,
    )  # fmt: skip
    assert service.wait_for_version(2, 60)
    for user in ("ann", "bob"):
        assert_recommends(answer_of(service, user, 9), expected_items(model, user, 9))
    assert service.stats().num_misses == 0


def test_rows_beyond_the_memory_are_fetched_again(model: PublishedRecommender, start: Start) -> None:
    users = [f"user {number}" for number in range(30)]
    model.begin(users=users)
    model.publish(histories={user: [number % 8] for number, user in enumerate(users)})
    service = start(2, max_hot_rows=8, max_states=0, state_seconds=0)
    for _ in range(2):
        for user in users:
            answer = answer_of(service, user, 2)
            assert_recommends(answer, expected_items(model, user, 2))
            assert answer.flags == []
    assert service.stats().num_misses >= 60
    assert service.stats().num_hot_rows <= 8


def test_live_pointer_swaps_generations_and_a_rollback_brings_the_older_back(
    model: PublishedRecommender, start: Start, log: EventLog, store: RowStore
) -> None:
    model.begin(users=["ann"])
    service = start()
    second = PublishedRecommender(log, store, items_named("x", "b", "z"), seed=5)
    second.begin(users=["ann"], live=False)
    second.publish(histories={"ann": [1]})
    assert answer_of(service, "ann", 3).generation == 1
    store.promote(2)
    wait_until(lambda: service.info().generation == 2, "the generation was not swapped")
    answer = answer_of(service, "ann", 8)
    assert_recommends(answer, expected_items(second, "ann", 8))
    assert {item.item_id for item in answer.items} == {"x", "z"}
    store.rollback(1)
    wait_until(lambda: service.info().generation == 1, "the recommender did not roll back")
    assert_recommends(answer_of(service, "ann", 8), expected_items(model, "ann", 8))


def test_state_computed_before_is_used_by_the_same_version_alone(model: PublishedRecommender, start: Start) -> None:
    model.begin(users=["ann"])
    service = start()
    first, again = answer_of(service, "ann", 5), answer_of(service, "ann", 5)
    assert (first.flags, again.flags) == ([], [CACHED_STATE])
    assert again.items == first.items
    assert answer_of(service, "ann", 5, history=["a"]).flags == []
    model.publish(users={"ann": model.random_rows([0], 77)[0]})
    assert service.wait_for_version(2, 60)
    answer = answer_of(service, "ann", 5)
    assert answer.flags == []
    assert_recommends(answer, expected_items(model, "ann", 5))


def test_state_in_redis_is_used_by_another_process_and_goes_with_time(
    model: PublishedRecommender, start: Start, store: RowStore
) -> None:
    model.begin(users=["ann"])
    first = answer_of(start(), "ann", 5)
    other = start(max_states=0)
    again = answer_of(other, "ann", 5)
    assert again.flags == [CACHED_STATE]
    assert again.items == first.items
    (key,) = store.nodes.execute([("KEYS", "freshet:recommender:state:*")])[0]
    assert 0 < store.nodes.execute([("PTTL", key)])[0] <= 60_000
    store.nodes.execute([("SET", key, b"damaged")])
    assert answer_of(other, "ann", 5).flags == []


def test_random_order_of_a_history_depends_on_the_user_alone(log: EventLog, store: RowStore, start: Start) -> None:
    config = small_config()
    shuffled = replace(config, switches=replace(config.switches, eval_order="random"))
    model = PublishedRecommender(log, store, items_named(*"abcdefghij"), config=shuffled)
    model.begin(users=["ann", "bob"])
    service = start(max_states=0, state_seconds=0)
    bob = request_of("bob", 3, history=[*"abcdefg"])
    (alone,), (_, together) = answers_of(service, bob), answers_of(service, request_of("ann", 3), bob)
    assert_recommends(together, [(item.item_id, item.score) for item in alone.items])
    chrono = expected_items(model, "bob", 3, history=range(7))
    assert not np.allclose([item.score for item in alone.items], [score for _, score in chrono], atol=1e-3)


def test_without_a_generation_requests_are_refused_and_the_probe_says_version_0(config: RecommenderConfig) -> None:
    service = start_recommender(config, environment={})
    try:
        refused, probe = service.score([
            {"request": pack_recommend(request_of("ann"))}, {"request": pack_recommend(request_of("ann", 0))},
        ])  # fmt: skip
        assert isinstance(refused, Refusal)
        assert refused.message.startswith("not_ready: ")
        assert probe == RecommendAnswer(items=[])
    finally:
        service.close()


@pytest.mark.parametrize(
    ("request_bytes", "said"),
    [
        (b"{", "request"),
        (b'{"unit_id": "u", "k": "five"}', "k"),
        (b'{"unit_id": "u", "k": 5, "histroy": []}', "histroy"),
        (pack_recommend(RecommendRequest(unit_id="u", k=1001)).tobytes(), "k: must be 0 to 1000"),
    ],
)
def test_malformed_request_is_refused_and_spoils_no_other(
    model: PublishedRecommender, start: Start, request_bytes: bytes, said: str
) -> None:
    model.begin(users=["ann"])
    bad = {"request": np.frombuffer(request_bytes, dtype=np.uint8).reshape(1, -1)}
    refused, missing, answer, probe = start().score(
        [bad, {}, {"request": pack_recommend(request_of("ann"))}, {"request": pack_recommend(request_of("ann", 0))}]
    )
    assert isinstance(refused, Refusal)
    assert refused.message.startswith("invalid_input: ")
    assert said in refused.message
    assert isinstance(missing, Refusal)
    assert isinstance(answer, RecommendAnswer)
    assert_recommends(answer, expected_items(model, "ann", 5))
    assert isinstance(probe, RecommendAnswer)
    assert (probe.version, probe.num_items, probe.items) == (1, 8, [])


def test_request_that_is_late_already_is_let_go_and_the_others_are_answered(
    model: PublishedRecommender, start: Start
) -> None:
    model.begin(users=["ann"])
    service, now_ms = start(), time.time_ns() // 1_000_000
    late, timely = service.score([
        {"request": pack_recommend(request_of("ann", answer_by_ms=now_ms - 1))},
        {"request": pack_recommend(request_of("ann", answer_by_ms=now_ms + 60_000))},
    ])  # fmt: skip
    assert isinstance(late, Refusal)
    assert late.message.startswith("late: ")
    assert isinstance(timely, RecommendAnswer)
    assert_recommends(timely, expected_items(model, "ann", 5))
    assert service.stats().num_late == 1

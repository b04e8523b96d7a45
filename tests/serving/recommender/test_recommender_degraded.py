"""The recommender where Redis, the log or a version is away or damaged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from serving.gateway.inprocess_recommender import InProcessRecommender
from serving.gateway.triton_client import RefusalError
from serving.recommender.config import UPDATES, RecommenderConfig
from serving.recommender.recommender import Recommender
from serving.recommender.service import start_recommender
from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.manifest import encode_update
from streams.contract.recommend_wire import (
    CACHED_STATE,
    STALE_UPDATES,
    STORE_UNAVAILABLE,
    pack_recommend,
    unpack_answer,
)
from streams.contract.recommender import NEW_ITEMS, TEMPERATURE, pack_items
from streams.log.event_log import Append
from streams.store.row_store import RowStore
from tests.support.recommender_versions import PublishedRecommender, items_named
from tests.support.recommending import answer_of, assert_recommends, expected_items, request_of
from tests.support.valkey import ValkeyServer, wait_until

Start = Callable[..., Recommender]


def test_store_away_serves_users_in_memory_and_says_of_others_that_they_could_not_be_looked_up(
    model: PublishedRecommender, start: Start, server: ValkeyServer
) -> None:
    model.begin(users=["ann"])
    model.publish(histories={"ann": [1]})
    service = start(2)
    server.kill()
    assert_recommends(answer_of(service, "ann", 4), expected_items(model, "ann", 4))
    assert answer_of(service, "ann", 4).flags == [CACHED_STATE]
    answer = answer_of(service, "bob", 4, history=["c"])
    assert_recommends(answer, expected_items(model, "bob", 4, history=[2]))
    assert answer.flags == [STORE_UNAVAILABLE]
    model.publish(users={"bob": np.ones(17, dtype=np.float32)}, histories={"bob": [0]}, to_store=False)
    assert service.wait_for_version(3, 60)
    answer = answer_of(service, "bob", 4)
    assert_recommends(answer, expected_items(model, "bob", 4))
    assert answer.flags == []


def test_store_that_lost_its_data_is_taken_for_away_until_a_generation_is_live_again(
    model: PublishedRecommender, start: Start, server: ValkeyServer, store: RowStore
) -> None:
    model.begin(users=["ann"])
    service = start(max_states=0)
    server.kill()
    server.start()
    wait_until(lambda: answer_of(service, str(time.monotonic())).flags == [STORE_UNAVAILABLE], "nobody noticed")
    assert_recommends(answer_of(service, "ann", 4), expected_items(model, "ann", 4))
    after = PublishedRecommender(model.log, store, items_named("x", "y"), seed=3)
    after.begin(users=["bob"])
    wait_until(lambda: service.info().generation == after.generation, "the new generation was not loaded", 60)
    assert_recommends(answer_of(service, "bob", 4), expected_items(after, "bob", 4))


def test_silent_log_is_flagged(model: PublishedRecommender, start: Start) -> None:
    model.begin(users=["ann"])
    assert answer_of(start(stale_after_seconds=0), "ann").flags == [STALE_UPDATES]


def test_row_newer_than_the_version_that_scores_makes_it_catch_up_first(
    model: PublishedRecommender, start: Start
) -> None:
    model.begin(users=["ann"])
    cold = {"max_hot_rows": 1, "max_states": 0, "state_seconds": 0}
    service, patient = start(**cold), start(**cold, catch_up_timeout_seconds=60)
    before = expected_items(model, "bob", 3)
    update = model.next_version(model.random_rows(range(8), 4), {"bob": np.ones(17)}, {"bob": [2]})
    model.write(update)
    answer = answer_of(service, "bob", 3)
    assert (answer.version, answer.flags) == (1, [STALE_UPDATES])
    assert_recommends(answer, before)
    with ThreadPoolExecutor(1) as asking:
        asked = asking.submit(answer_of, patient, "bob", 3)
        model.append(update)
        answers = [asked.result()]
    assert service.wait_for_version(2, 60)
    for answer in (*answers, answer_of(service, "bob", 3)):
        assert (answer.version, answer.flags) == (2, [])
        assert_recommends(answer, expected_items(model, "bob", 3))


@pytest.mark.parametrize("damage", ["duplicate", "no bytes", "unnamed item", "missing", "temperature"])
def test_damaged_version_is_passed_over_and_the_next_one_loads_the_generation_again(
    model: PublishedRecommender, start: Start, damage: str
) -> None:
    model.begin(users=["ann"])
    service = start()
    good = model.next_version(model.random_rows([1], 4), {}, {})
    shipped: dict[str, dict[str, Array]] = {
        "duplicate": {NEW_ITEMS: np.frombuffer(pack_items(items_named("a")), dtype=np.uint8)},
        "no bytes": {NEW_ITEMS: np.ones(3, dtype=np.float32)},
        "unnamed item": good.dense,
        "temperature": {**good.dense, TEMPERATURE: np.zeros(1, dtype=np.float32)},
        "missing": {},
    }
    rows = dict(good.rows)
    if damage == "unnamed item":
        rows["items"] = replace(rows["items"], ids=rows["items"].ids + 8)
    model.log.append(
        [Append(UPDATES, record) for record in encode_update(replace(good, dense=shipped[damage], rows=rows))]
    )
    assert not service.wait_for_version(2, 0.5)
    model.write(good)
    model.publish(items=model.random_rows([2], 5))
    assert service.wait_for_version(3, 30)
    assert_recommends(answer_of(service, "ann", 8), expected_items(model, "ann", 8))


def test_in_process_it_answers_by_the_same_tensors_and_refuses_with_the_reason(
    model: PublishedRecommender, config: RecommenderConfig
) -> None:
    async def ask(recommender: InProcessRecommender) -> None:
        tensors = {"request": pack_recommend(request_of("ann", 4))}
        with pytest.raises(RefusalError, match="not_ready"):
            await recommender.infer(tensors, time.monotonic() + 20)
        model.begin(users=["ann"])
        while unpack_answer(await recommender.infer(probe, time.monotonic() + 20)).version < 1:
            await asyncio.sleep(0.02)
        answer = unpack_answer(await recommender.infer(tensors, time.monotonic() + 20))
        assert_recommends(answer, expected_items(model, "ann", 4))
        with pytest.raises(TimeoutError):
            await recommender.infer(tensors, time.monotonic() - 1)
        await recommender.close()

    probe = {"request": pack_recommend(request_of("ann", 0))}
    asyncio.run(ask(InProcessRecommender(start_recommender(config, environment={}))))


@pytest.mark.parametrize(
    "changes",
    [{"log": ""}, {"redis": ""}, {"max_hot_rows": 0}, {"num_threads": 0}, {"state_seconds": -1.0}, {"max_likes": -1}],
)
def test_settings_that_cannot_be_are_refused_by_name(config: RecommenderConfig, changes: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(changes))):
        replace(config, **changes)  # type: ignore[arg-type]

"""Whatever is asked: items come from the catalogue, and never one that is liked, excluded, or without a row."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.recommender.config import RecommenderConfig
from serving.recommender.recommender import Recommender
from serving.recommender.service import start_recommender
from streams.contract.recommend_wire import RECOMMENDER, RecommendAnswer, RecommendRequest
from streams.log.event_log import open_log
from streams.store.row_store import open_row_store
from tests.support.recommender_versions import PublishedRecommender, items_named
from tests.support.recommending import answers_of
from tests.support.valkey import valkey_server

RANKED = [f"item {number}" for number in range(12)]
ROWLESS = ["rowless 1", "rowless 2"]
LIKES = {"ann": [3, 4], "bob": [0]}
NAMES = st.sampled_from([*RANKED, *ROWLESS, "unheard of", "", "user_1"])

REQUESTS = st.builds(
    RecommendRequest,
    unit_id=st.sampled_from(["ann", "bob", "eve", ""]),
    k=st.integers(1, 20),
    history=st.none() | st.lists(NAMES, max_size=15),
    exclude=st.lists(NAMES, max_size=15),
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recommender]:
    """Ten items of the start, two that came later, and two that have no row."""
    with valkey_server() as redis:
        log = open_log(f"embedded:{tmp_path_factory.mktemp('log')}")
        store = open_row_store(redis.address, model=RECOMMENDER, password="")
        model = PublishedRecommender(log, store, items_named(*RANKED[:10], ROWLESS[0]))
        model.begin(users=list(LIKES))
        model.publish(gone=[10], histories=LIKES)
        model.publish(new_items=items_named(*RANKED[10:], ROWLESS[1]), items=model.random_rows([11, 12], 5))
        running = start_recommender(
            RecommenderConfig(log=log.address, redis=redis.address, warm_up_likes=()), environment={}
        )
        assert running.wait_for_version(3, 60)
        yield running
        running.close()
        store.close()
        log.close()


@given(requests=st.lists(REQUESTS, min_size=1, max_size=5))
def test_list_holds_the_best_of_what_may_be_recommended(service: Recommender, requests: list[RecommendRequest]) -> None:
    for request, answer in zip(requests, answers_of(service, *requests), strict=True):
        assert_may_be(request, answer)


def assert_may_be(request: RecommendRequest, answer: RecommendAnswer) -> None:
    likes = {RANKED[number] for number in LIKES.get(request.unit_id, [])}
    allowed = set(RANKED) - set(request.exclude) - (likes if request.history is None else set(request.history))
    names = [item.item_id for item in answer.items]
    scores = [item.score for item in answer.items]
    assert set(names) <= allowed
    assert len(names) == len(set(names)) == min(request.k, len(allowed))
    assert scores == sorted(scores, reverse=True)
    assert sum(map(math.exp, scores)) <= 1 + 1e-5

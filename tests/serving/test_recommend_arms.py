"""POST /v1/recommend with a real recommender beside a real click model, both published by hand."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.gateway.arms import Wanted
from serving.gateway.blend import BlendConfig, blended
from serving.gateway.candidate_pool import CandidatePool
from serving.gateway.deadline_shares import DeadlineShares
from serving.gateway.live_model import LiveModels
from serving.gateway.popularity import PopularityRanker
from serving.gateway.rankers import CtrRanker, FallbackRanker
from serving.gateway.recommender import Recommender
from serving.gateway.recommending import RecommendConfig, Recommending
from serving.gateway.seen_items import SeenItems
from serving.gateway.triton_client import TritonClient, TritonClientConfig
from serving.scorer.store_link import StoreLink
from streams.contract.columns import Array, Column, Jagged
from streams.contract.events import Impression
from streams.contract.features import FeatureTransform
from streams.contract.recommend_wire import RECOMMENDER
from streams.contract.values import ids_of
from streams.store.row_store import RowStore, open_row_store
from tests.support.gateway import Http, config_for, gateway, logged, wait_until_ready
from tests.support.recommender_versions import PublishedRecommender, items_named
from tests.support.serving_model import ModelWorld
from tests.support.valkey import wait_until

NAMES = [f"n{number}" for number in range(20)]
LIKED = ["n3", "n7"]
WEIGHT = 0.5


@dataclass(frozen=True)
class Both:
    """A gateway before both models."""

    http: Http
    world: ModelWorld
    store: RowStore
    recommender: PublishedRecommender

    def ask(self, **changes: Any) -> dict[str, Any]:
        """An answer for a user that no model knows."""
        body = {"unit_id": "u", "k": 20, "history": LIKED, "user": {"user": "u", "history": ["a", "b"]}, **changes}
        reply = self.http.post("/v1/recommend", body)
        assert reply.status == 200, reply.body
        answer: dict[str, Any] = reply.json
        return answer

    def expected(self, names: list[str]) -> Array:
        """The recommender's scores (N,) of the items."""
        numbers = [NAMES.index(name) for name in names]
        return self.recommender.expected("u", [NAMES.index(name) for name in LIKED])[numbers]

    def click_probabilities(self, names: list[str]) -> Array:
        """The click model's (N,), which reads of items the article alone, and that of the first ten."""
        articles = [name if NAMES.index(name) < 10 else None for name in names]
        request: dict[str, Column] = {"user": ["u"], "history": Jagged(["a", "b"], np.array([2], dtype=np.int32))}
        transform = FeatureTransform(self.world.model.schema)
        batch = transform(request, {"article": articles}, np.zeros(len(names), dtype=np.int32), num_requests=1)
        return self.world.model.expected(batch)


@pytest.fixture(scope="module")
def both(world: ModelWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """The recommender knows twenty items; of ten the gateway has seen an impression with features."""
    article = next(feature for feature in world.model.schema.features if feature.name == "article")
    world.model.publish(world.model.random_rows(ids_of(article, NAMES[:10]).tolist()))
    store = open_row_store(world.redis.address, model=RECOMMENDER, password="")
    recommender = PublishedRecommender(world.log, store, items_named(*NAMES))
    recommender.begin(users=["known"])
    recommender.publish(histories={"known": [0, 4, 15]})
    config = RecommendConfig(blend=BlendConfig(generative_weight=WEIGHT))
    folder = tmp_path_factory.mktemp("spool")
    with gateway(config_for(world, spool_dir=folder, recommender=True, recommend=config)) as http:
        wait_until_ready(http)
        both = Both(http, world, store, recommender)
        wait_until(lambda: both.ask(log=False)["answered_by"] == "generative", "the recommender was not ready", 60)
        seen = {"type": "impression", "event_id": "seen", "event_time_ms": 1, "session_id": "s", "unit_id": "u",
                "ad_ids": NAMES[:10], "candidates": {"article": NAMES[:10]}}  # fmt: skip
        assert http.post("/v1/events", seen).status == 202
        wait_until(lambda: len(both.ask(arm="ctr", log=False)["items"]) == 8, "the items were not taken up")
        wait_until(lambda: both.ask(arm="ctr", log=False)["version"] == world.model.version, "no click model was ready")
        yield both
    store.close()


def pairs(answer: dict[str, Any]) -> tuple[list[str], list[float]]:
    """Names and scores."""
    return [item["item_id"] for item in answer["items"]], [item["score"] for item in answer["items"]]


def test_generative_arm_answers_the_recommenders_items_in_its_order(both: Both) -> None:
    answer = both.ask(request_id="generated")
    names, scores = pairs(answer)
    assert sorted(names) == sorted(set(NAMES) - set(LIKED))
    assert scores == pytest.approx(both.expected(names).tolist(), abs=1e-4)
    assert scores == sorted(scores, reverse=True)
    version, generation = both.recommender.version, both.recommender.generation
    assert (answer["answered_by"], answer["version"], answer["generation"]) == ("generative", version, generation)
    assert (answer["recommender_version"], answer["recommender_generation"]) == (version, generation)
    assert "unknown_user" in answer["flags"]
    (event,) = logged(both.world, "generated")
    assert isinstance(event, Impression)
    assert (event.arm, event.version, event.ad_ids, event.probabilities) == ("generative", version, names, None)
    articles = dict(zip(names, event.candidates["article"], strict=True))
    assert {name for name, article in articles.items() if article == name} == set(NAMES[:10]) - set(LIKED)
    categories = dict(zip(names, event.candidates["category"], strict=True))
    assert categories["n15"] == "n", "where the gateway saw no impression, the recommender's own features stand"


def test_blend_ranks_what_is_retrieved_by_both_opinions(both: Both) -> None:
    answer = both.ask(arm="blend", request_id="blended")
    names, scores = pairs(answer)
    clicks = both.click_probabilities(names)
    expected = blended(BlendConfig(generative_weight=WEIGHT), both.expected(names), clicks)
    assert scores == pytest.approx(expected.tolist(), abs=1e-4)
    assert scores == sorted(scores, reverse=True)
    assert (answer["answered_by"], answer["version"]) == ("blend", both.world.model.version)
    assert answer["recommender_version"] == both.recommender.version
    (event,) = logged(both.world, "blended")
    assert event.probabilities == pytest.approx(clicks.tolist(), abs=1e-6)
    assert (event.version, event.extra["recommender_version"]) == (answer["version"], both.recommender.version)
    assert set(event.candidates) == {"article"}, "the click model was told only what its schema knows"


def test_two_arms_are_answered_at_once_each_as_if_alone(both: Both) -> None:
    answer = both.ask(arm="generative", also="blend", k=4)
    assert pairs(answer) == pairs(both.ask(k=4))
    assert pairs(answer["also"])[0] == pairs(both.ask(arm="blend", k=4))[0]


def test_excluded_items_are_not_answered_by_any_arm(both: Both) -> None:
    for arm in ("generative", "blend", "ctr"):
        names, _ = pairs(both.ask(arm=arm, exclude=NAMES[8:12], k=15))
        assert names
        assert not {*LIKED, *NAMES[8:12]} & set(names)


def test_what_the_stream_says_that_a_unit_likes_is_answered_by_no_arm(both: Both) -> None:
    for arm in ("generative", "blend", "ctr"):
        asked = {"arm": arm, "unit_id": "known", "log": False}
        told, _ = pairs(both.ask(history=[], **asked))
        assert {"n0", "n4"} < set(told), "the request's history stands in the place of the stream's"
        names, _ = pairs(both.ask(history=None, **asked))
        assert set(names) == set(told) - {"n0", "n4", "n15"}


def test_gateway_without_the_recommender_leaves_out_what_its_learner_wrote_down(both: Both, tmp_path: Path) -> None:
    with gateway(config_for(both.world, spool_dir=tmp_path / "spool")) as http:
        wait_until_ready(http)
        seen = {"type": "impression", "event_id": "here", "event_time_ms": 1, "session_id": "s", "unit_id": "u",
                "ad_ids": NAMES[:6]}  # fmt: skip
        assert http.post("/v1/events", seen).status == 202
        alone = Both(http, both.world, both.store, both.recommender)
        wait_until(lambda: len(alone.ask(history=None)["items"]) == 6, "the items were not taken up")
        answer = alone.ask(unit_id="known", history=None)
        assert sorted(pairs(answer)[0]) == ["n1", "n2", "n3", "n5"]
        assert (answer["answered_by"], answer["flags"]) == ("ctr", ["recommender_unavailable"])


def test_readiness_and_status_tell_of_the_recommender(both: Both) -> None:
    # A model that is asked how it is has a second to answer, which it misses on a busy machine.
    ready = {"ready": True, "missing": [], "degraded": []}
    wait_until(lambda: both.http.get("/readyz").json == ready, "it does not tell that all is well")
    told = both.http.get("/v1/status").json["recommender"]
    assert (told["version"], told["generation"]) == (both.recommender.version, both.recommender.generation)


def test_rollback_of_the_recommender_brings_back_what_it_recommended(both: Both) -> None:
    before = pairs(both.ask())
    other = PublishedRecommender(both.world.log, both.store, items_named(*NAMES), seed=5)
    other.begin()
    wait_until(lambda: both.ask(log=False)["generation"] == other.generation, "the new generation is not served", 60)
    assert pairs(both.ask()) != before
    assert len(both.http.get("/v1/models?model=recommender").json["generations"]) == 2
    generation = both.recommender.generation
    reply = both.http.post(f"/v1/models/{generation}:rollback?model=recommender", b"")
    assert reply.json == {"live": generation}
    assert both.http.get("/v1/models").json["live"] == 1, "the click model stays where it is"
    wait_until(lambda: both.ask(log=False)["generation"] == generation, "the old generation is not served", 60)
    assert pairs(both.ask()) == before


def test_late_recommender_is_answered_for_within_the_deadline() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()

        async def use() -> None:
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            client = TritonClient(TritonClientConfig(address=address))
            pool, models = CandidatePool(), LiveModels(lambda: None)
            pool.observe([Impression(event_id="i", event_time_ms=1, session_id="s", unit_id="u", ad_ids=["a"])])
            ctr = CtrRanker(client, models)
            shares = DeadlineShares()
            seen = SeenItems(StoreLink(f"redis://{address}", RECOMMENDER), shares, poll_seconds=1)
            recommending = Recommending(RecommendConfig(), Recommender(client), pool, seen, ctr=ctr,
                                        fallback=FallbackRanker(ctr, PopularityRanker()), models=models,
                                        shares=shares)  # fmt: skip
            started = time.monotonic()
            answer, _ = await recommending.recommend("generative", None, Wanted(unit_id="u", k=3), started + 3)
            assert time.monotonic() - started < 3
            assert answer.items == ["a"]
            assert {"recommender_deadline", "history_unavailable"} < set(answer.flags)
            await client.close()
            seen.close()

        asyncio.run(use())

"""POST /v1/recommend on a real gateway whose recommender is away: who answers, in what order, and what is logged."""

from __future__ import annotations

import dataclasses
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from serving.gateway.limits import LimitsConfig
from streams.contract.columns import Jagged
from streams.contract.events import Impression
from streams.contract.features import FeatureTransform
from tests.support.gateway import Http, config_for, gateway, logged, read_events, wait_until_ready
from tests.support.ports import free_ports
from tests.support.serving_model import ModelWorld
from tests.support.valkey import wait_until

ARTICLES = [f"n{number}" for number in range(12)]


def body(**changes: Any) -> dict[str, Any]:
    """A request that is as it should be, but for the changes."""
    return {"unit_id": "u", "k": 5, "user": {"user": "u", "history": ["a", "b"]}, **changes}


def impression(event_id: str, ads: list[str], **columns: list[Any]) -> dict[str, Any]:
    """An impression as it is posted."""
    return {"type": "impression", "event_id": event_id, "event_time_ms": 1, "session_id": "s", "unit_id": "u",
            "ad_ids": ads, "candidates": columns}  # fmt: skip


def post(http: Http, *events: dict[str, Any]) -> None:
    """Posts events, all of them good."""
    reply = http.post("/v1/events", {"events": list(events)})
    assert (reply.status, reply.json["rejected"]) == (202, [])


@pytest.fixture(scope="module")
def seen(http: Http) -> Http:
    """A gateway that has seen twelve articles, some of a feature that no schema has, and can rank them."""
    ages = [float(number) for number in range(12)]
    post(http, impression("seen", ARTICLES, article=ARTICLES, age=ages, colour=["red"] * 12))
    wait_until(lambda: len(items_of(http.post("/v1/recommend", body(arm="ctr", k=12, log=False)).json)) == 12,
               "the items were not taken up")  # fmt: skip
    return http


def items_of(answer: dict[str, Any]) -> list[str]:
    """The names of the items."""
    return [item["item_id"] for item in answer["items"]]


def test_click_model_ranks_the_items_seen_lately_by_their_features(world: ModelWorld, seen: Http) -> None:
    answer = seen.post("/v1/recommend", body(arm="ctr", k=12)).json
    order = items_of(answer)
    batch = FeatureTransform(world.model.schema)(
        {"user": ["u"], "history": Jagged(["a", "b"], np.array([2], dtype=np.int32))},
        {"article": order, "age": [float(name[1:]) for name in order]},
        np.zeros(12, dtype=np.int32),
        num_requests=1,
    )
    scores = [item["score"] for item in answer["items"]]
    assert sorted(order) == sorted(ARTICLES)
    assert scores == pytest.approx(world.model.expected(batch).tolist(), abs=1e-6)
    assert scores == sorted(scores, reverse=True)
    assert (answer["arm"], answer["answered_by"], answer["flags"]) == ("ctr", "ctr", [])
    assert (answer["version"], answer["generation"]) == (1, 1)
    assert answer["recommender_version"] is None
    assert answer["freshness_seconds"] > 0


@pytest.mark.parametrize("arm", ["generative", "blend"])
def test_absent_recommender_is_answered_for_by_the_click_model_and_flagged(seen: Http, arm: str) -> None:
    answer = seen.post("/v1/recommend", body(arm=arm)).json
    assert len(answer["items"]) == 5
    assert (answer["arm"], answer["answered_by"], answer["flags"]) == (arm, "ctr", ["recommender_unavailable"])
    assert answer["version"] == 1


def test_history_and_excluded_items_are_never_recommended(seen: Http) -> None:
    answer = seen.post("/v1/recommend", body(arm="ctr", k=12, history=ARTICLES[:5], exclude=ARTICLES[5:9])).json
    assert set(items_of(answer)) == set(ARTICLES[9:])


def test_second_arm_is_answered_beside_the_first_and_not_logged(world: ModelWorld, seen: Http) -> None:
    answer = seen.post("/v1/recommend", body(also="ctr", request_id="two")).json
    assert answer["arm"] == "generative"
    assert (answer["also"]["arm"], answer["also"]["flags"]) == ("ctr", [])
    assert items_of(answer["also"]) == items_of(answer)
    (event,) = logged(world, "two")
    assert event.arm == "generative"
    assert seen.post("/v1/recommend", body()).json["also"] is None


def test_recommendation_is_logged_as_an_impression_of_its_items(world: ModelWorld, seen: Http) -> None:
    sent = body(arm="ctr", request_id="given", session_id="s7", event_time_ms=77)
    answer = seen.post("/v1/recommend", sent).json
    (event,) = logged(world, "given")
    assert isinstance(event, Impression)
    assert (event.session_id, event.unit_id, event.event_time_ms, event.arm) == ("s7", "u", 77, "ctr")
    assert event.ad_ids == items_of(answer)
    assert event.positions == [0, 1, 2, 3, 4]
    assert event.probabilities == pytest.approx([item["score"] for item in answer["items"]])
    assert event.candidates == {"article": event.ad_ids, "age": [float(name[1:]) for name in event.ad_ids]}
    assert (event.version, event.generation, event.user) == (1, 1, sent["user"])
    assert event.extra["answered_by"] == "ctr"


def test_recommendation_that_shall_not_be_logged_is_not(world: ModelWorld, seen: Http) -> None:
    seen.post("/v1/recommend", body(request_id="silent", log=False))
    seen.post("/v1/recommend", body(request_id="told"))
    logged(world, "told")
    assert "silent" not in {event.event_id for event in read_events(world.log)}


def test_features_that_do_not_fit_the_live_schema_cost_the_item_its_features_not_the_answer(
    world: ModelWorld, tmp_path: Path
) -> None:
    with gateway(config_for(world, spool_dir=tmp_path / "spool")) as http:
        wait_until_ready(http)
        post(http, impression("odd", ["good", "odd"], article=["a", "b"], age=[1.0, "old"]))
        wait_until(lambda: http.post("/v1/recommend", body(arm="ctr")).json["items"] != [], "nothing was taken up")
        answer = http.post("/v1/recommend", body(arm="ctr", request_id="odd-answer")).json
        assert (answer["answered_by"], sorted(items_of(answer))) == ("ctr", ["good", "odd"])
        (event,) = logged(world, "odd-answer")
        ages = dict(zip(event.ad_ids, event.candidates["age"], strict=True))
        assert ages == {"good": 1.0, "odd": None}


def test_messagepack_says_the_same_as_json(seen: Http) -> None:
    sent = body(arm="ctr", request_id="packed")
    in_json = seen.post("/v1/recommend", sent).json
    packed = seen.post("/v1/recommend", msgspec.msgpack.encode(sent), {"Content-Type": "application/x-msgpack"})
    assert packed.headers["content-type"] == "application/x-msgpack"
    answer = msgspec.msgpack.decode(packed.body)
    assert (items_of(answer), answer["request_id"]) == (items_of(in_json), "packed")


@pytest.mark.parametrize(
    ("sent", "status", "field"),
    [
        (body(k=0), 422, "k"),
        (body(k=1001), 422, "k"),
        (body(k="five"), 422, "k"),
        ({"unit_id": "u"}, 422, "k"),
        ({"k": 5}, 422, "unit_id"),
        (body(unit_id=""), 422, "unit_id"),
        (body(arm="guess"), 422, "arm"),
        (body(also="guess"), 422, "also"),
        (body(history=["a", 3]), 422, "history[1]"),
        (body(history=["a"] * 1001), 422, "history"),
        (body(exclude=["a"] * 10_001), 422, "exclude"),
        (body(user={"colour": "red"}), 422, "user.colour"),
        (body(user={"user": ["u"]}), 422, "user"),
        (body(context={"article": "a"}), 422, "context.article"),
        (body(colour="red"), 422, "colour"),
        (body(request_id="x" * 513), 400, "request_id"),
        (body(event_time_ms=2**70), 400, "event_time_ms"),
        (b'{"unit_id": "u"', 400, "body"),
        (b" " * 500_001, 413, "body"),
    ],
)
@pytest.mark.parametrize("arm", ["generative", "ctr"])
def test_bad_request_names_the_field_and_the_remedy(seen: Http, sent: Any, status: int, field: str, arm: str) -> None:
    given = {"arm": arm, **sent} if isinstance(sent, dict) else sent
    reply = seen.post("/v1/recommend", given)
    assert (reply.status, reply.error.get("field")) == (status, field), reply.body
    assert reply.error["message"]
    assert reply.error["remedy"]


def test_deadline_that_is_none_is_refused(seen: Http) -> None:
    reply = seen.post("/v1/recommend", body(), {"X-Deadline-Ms": "soon"})
    assert (reply.status, reply.error["field"]) == (422, "x-deadline-ms")


def test_gateway_without_any_model_answers_by_popularity_and_before_it_has_seen_items_with_none(
    world: ModelWorld, tmp_path: Path
) -> None:
    config = config_for(world, triton=f"127.0.0.1:{free_ports(1)[0]}", spool_dir=tmp_path / "spool", recommender=True)
    alone = dataclasses.replace(config, redis=f"redis://127.0.0.1:{free_ports(1)[0]}")
    with gateway(alone) as http:
        reply = http.post("/v1/recommend", body())
        assert (reply.status, reply.json["items"]) == (200, [])
        assert reply.json["flags"] == ["no_candidates", "recommender_unavailable"]
        click = {"type": "feedback", "event_id": "f", "event_time_ms": 2, "session_id": "s", "impression_id": "p",
                 "ad_id": "n4"}  # fmt: skip
        post(http, impression("p", ARTICLES), click)
        wait_until(lambda: http.post("/v1/recommend", body()).json["items"] != [], "nothing was taken up")
        answer = http.post("/v1/recommend", body()).json
        assert answer["flags"] == ["ranker_unavailable", "history_unavailable", "recommender_unavailable"]
        assert 'freshet_flags_total{flag="history_unavailable"}' in http.get("/metrics").body.decode()
        assert (answer["answered_by"], answer["version"], answer["freshness_seconds"]) == ("popularity", 0, None)
        assert items_of(answer)[0] == "n4"
        degraded = http.get("/readyz").json["degraded"]
        assert any(line.startswith("recommender: ") for line in degraded)


def test_silent_recommender_is_waited_for_within_the_deadline_and_the_bound_on_requests(
    world: ModelWorld, tmp_path: Path
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        config = config_for(world, triton=f"127.0.0.1:{silent.getsockname()[1]}", spool_dir=tmp_path / "spool",
                            limits=LimitsConfig(max_in_flight=1))  # fmt: skip
        with gateway(config) as http, ThreadPoolExecutor(1) as threads:
            post(http, impression("s", ["a"]))
            waiting = threads.submit(http.post, "/v1/recommend", body(), {"X-Deadline-Ms": "5000"})
            # Not /v1/status, which itself waits a second for the silent model.
            wait_until(lambda: b"freshet_requests_in_flight 1.0" in http.get("/metrics").body, "it was not taken")
            refused = http.post("/v1/recommend", body())
            assert (refused.status, refused.error["code"]) == (429, "overloaded")
            late = waiting.result()
            assert late.json["flags"] == ["deadline", "recommender_deadline"]
            assert items_of(late.json) == ["a"]


def test_recommendations_are_counted_apart_from_scores(seen: Http) -> None:
    seen.post("/v1/recommend", body(arm="ctr"))
    seen.post("/v1/recommend", b"{")
    text = seen.get("/metrics").body.decode()
    counted = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    for outcome in ("recommended", "refused"):
        assert float(counted[f'freshet_recommend_requests_total{{outcome="{outcome}"}}']) > 0
    assert float(counted['freshet_score_requests_total{outcome="scored"}']) == 0
    assert 'freshet_flags_total{flag="recommender_unavailable"}' in text


def test_document_has_the_fields_of_request_and_answer(seen: Http) -> None:
    schemas = seen.get("/openapi.json").json["components"]["schemas"]
    assert set(body(history=[], exclude=[], arm="")) <= set(schemas["RecommendBody"]["properties"])
    assert set(seen.post("/v1/recommend", body()).json) == set(schemas["RecommendReply"]["properties"])


def test_versions_of_a_model_that_is_none_here_are_not_found(seen: Http) -> None:
    assert seen.get("/v1/models?model=recommender").json["versions"] == []
    for reply in (seen.get("/v1/models?model=nosuch"), seen.post("/v1/models/1:rollback?model=nosuch", b"")):
        assert (reply.status, reply.error["field"]) == (404, "model")

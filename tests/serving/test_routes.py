"""The HTTP API on a real gateway with a real log, store and scorer."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.contract.columns import Jagged
from streams.contract.events import Impression
from streams.contract.features import FeatureTransform
from streams.contract.telemetry import METRICS
from tests.support.gateway import (
    Http,
    candidates,
    config_for,
    gateway,
    logged,
    score_body,
    wait_until_ready,
)
from tests.support.serving_model import ModelWorld, model_world, second_generation
from tests.support.valkey import wait_until

# scoring


def test_score_answers_with_the_models_probabilities_and_their_ranking(world: ModelWorld, http: Http) -> None:
    reply = http.post("/v1/score", score_body(request_id="first"))
    assert reply.status == 200, reply.body
    answer = reply.json
    batch = FeatureTransform(world.model.schema)(
        {"user": ["u"], "history": Jagged(["a", "b"], np.array([2], dtype=np.int32))},
        {"article": ["a", "b", "z"], "age": [1.0, 2.0, None]},
        np.zeros(3, dtype=np.int32),
        num_requests=1,
    )
    assert answer["scores"] == pytest.approx(world.model.expected(batch).tolist(), abs=1e-6)
    assert answer["ranking"] == sorted(range(3), key=lambda row: -answer["scores"][row])
    assert (answer["request_id"], answer["arm"], answer["flags"]) == ("first", "default", [])
    assert (answer["version"], answer["generation"]) == (1, 1)
    assert answer["freshness_seconds"] > 0


def test_scored_request_is_logged_as_its_impression(world: ModelWorld, http: Http) -> None:
    body = score_body(request_id="seen", session_id="s7", event_time_ms=1234, arm="blue")
    answer = http.post("/v1/score", body).json
    (event,) = logged(world, "seen")
    assert isinstance(event, Impression)
    assert (event.session_id, event.unit_id, event.event_time_ms, event.arm) == ("s7", "u", 1234, "blue")
    assert (event.ad_ids, event.version, event.generation) == (["1", "2", "3"], 1, 1)
    assert event.user == body["user"]
    assert event.candidates == {"article": ["a", "b", "z"], "age": [1.0, 2, None]}
    assert event.probabilities == pytest.approx(answer["scores"], abs=1e-7)
    assert event.positions is not None
    assert [event.positions.index(place) for place in range(3)] == answer["ranking"]
    assert event.ingest_ms > 0


def test_request_without_id_gets_one(http: Http) -> None:
    first, second = (http.post("/v1/score", score_body()).json["request_id"] for _ in range(2))
    assert first != second
    assert len(first) == 32


def test_messagepack_says_the_same_as_json(http: Http) -> None:
    in_json = http.post("/v1/score", score_body()).json
    packed = http.post("/v1/score", msgspec.msgpack.encode(score_body()), {"Content-Type": "application/x-msgpack"})
    assert packed.headers["content-type"] == "application/x-msgpack"
    answer = msgspec.msgpack.decode(packed.body)
    assert answer["scores"] == pytest.approx(in_json["scores"], abs=1e-7)
    asked = http.post("/v1/score", score_body(), {"Accept": "application/x-msgpack"})
    assert msgspec.msgpack.decode(asked.body)["ranking"] == in_json["ranking"]


@pytest.mark.parametrize("number", [1, 4096])
def test_smallest_and_largest_number_of_candidates_are_scored(http: Http, number: int) -> None:
    reply = http.post("/v1/score", score_body(candidates={"ad_id": list(range(number))}))
    assert reply.status == 200
    assert sorted(reply.json["ranking"]) == list(range(number))


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (score_body(user={"colour": "red"}), 422, "user.colour"),
        (score_body(context={"article": "a"}), 422, "context.article"),
        (candidates(colour=["r", "g", "b"]), 422, "candidates.colour"),
        (candidates(age=["old", 1, 2]), 422, "age"),
        (candidates(age=[True, 1, 2]), 422, "age"),
        (candidates(article=[1, 2, 3]), 422, "article"),
        (candidates(article=["a", "b"]), 422, "candidates.article"),
        (candidates(ad_id=["1", None, "3"]), 422, "candidates.ad_id"),
        (candidates(ad_id=["1", 2.5, "3"]), 422, "candidates.ad_id"),
        (candidates(ad_id="1"), 422, "candidates.ad_id"),
        (score_body(candidates={"article": ["a"]}), 422, "candidates.ad_id"),
        (score_body(candidates={"ad_id": []}), 422, "candidates.ad_id"),
        (score_body(candidates={"ad_id": ["x"] * 4097}), 413, "candidates"),
        (score_body(candidates=None), 422, "candidates"),
        (score_body(unit_id=""), 422, "unit_id"),
        (score_body(unit_id=7), 422, "unit_id"),
        (score_body(event_time_ms="now"), 422, "event_time_ms"),
        (score_body(event_time_ms=2**70), 400, "event_time_ms"),
        (score_body(request_id="x" * 513), 400, "request_id"),
        (score_body(users={}), 422, "users"),
        (score_body(user={"user": {"a": 1}}), 422, "user.user"),
        ({"unit_id": "u"}, 422, "candidates"),
        ([1, 2], 422, "body"),
        (b'{"unit_id": "u"', 400, "body"),
        (b"", 400, "body"),
        (b"\xff\xfe", 400, "body"),
        (b'{"unit_id": "u", "candidates": {"ad_id": ' + b"[" * 100_000, 400, "body"),
        (b'{"unit_id": "u", "candidates": {"ad_id": ["1"], "age": [NaN]}}', 422, "candidates.age[0]"),
        (b'{"unit_id": "u", "candidates": {"ad_id": ["1", "2"], "age": [1, -Infinity]}}', 422, "candidates.age[1]"),
        (b'{"unit_id": "u", "candidates": {"ad_id": ["1"], "age": [1e999]}}', 422, "candidates.age[0]"),
        (b" " * 500_001, 413, "body"),
    ],
)
def test_bad_request_names_the_field_and_the_remedy(http: Http, body: Any, status: int, field: str) -> None:
    reply = http.post("/v1/score", body)
    assert (reply.status, reply.error.get("field")) == (status, field), reply.body
    assert reply.error["message"]
    assert reply.error["remedy"]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (score_body(user={"colour": "red"}), 422, "user.colour"),
        (candidates(article=["a", "b"]), 422, "candidates.article"),
        (candidates(age=["old", 1, 2]), 422, "age"),
        (score_body(candidates={"ad_id": ["x"] * 4097}), 413, "candidates"),
        (score_body(unit_id=7), 422, "unit_id"),
        (score_body(user={"user": {"a": 1}}), 422, "user.user"),
        ({1: 2}, 422, "body"),
    ],
)
def test_bad_request_in_messagepack_names_the_field_and_the_remedy(
    http: Http, body: Any, status: int, field: str
) -> None:
    reply = http.post("/v1/score", msgspec.msgpack.encode(body), {"Content-Type": "application/x-msgpack"})
    assert (reply.status, reply.error.get("field")) == (status, field), reply.body
    assert reply.error["remedy"]


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x91" * 100_000, msgspec.msgpack.encode(score_body())[:-9]])
def test_malformed_messagepack_is_refused(http: Http, body: bytes) -> None:
    reply = http.post("/v1/score", body, {"Content-Type": "application/x-msgpack"})
    assert (reply.status // 100, reply.error["field"]) == (4, "body")


def test_non_finite_number_in_messagepack_is_named(http: Http) -> None:
    body = msgspec.msgpack.encode(candidates(age=[1.0, float("inf"), 2.0]))
    reply = http.post("/v1/score", body, {"Content-Type": "application/x-msgpack"})
    assert (reply.status, reply.error["field"]) == (422, "age")


def test_large_body_without_a_length_is_cut_off(http: Http) -> None:
    with socket.create_connection(tuple(http.host.split(":"))) as connection:  # type: ignore[arg-type]
        connection.sendall(b"POST /v1/score HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(9):
            connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_deadline_that_is_none_is_refused(http: Http) -> None:
    reply = http.post("/v1/score", score_body(), {"X-Deadline-Ms": "soon"})
    assert (reply.status, reply.error["field"]) == (422, "x-deadline-ms")


def test_client_that_hangs_up_does_no_harm(http: Http) -> None:
    request = b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
    for sent in (b"", request[:20], request):
        with socket.create_connection(tuple(http.host.split(":"))) as connection:  # type: ignore[arg-type]
            connection.sendall(sent)
    assert http.post("/v1/score", score_body()).status == 200


# models, health, documents


def test_models_lists_what_is_live_and_what_there_is(http: Http) -> None:
    answer = http.get("/v1/models").json
    assert answer["live"] == 1
    assert [entry["generation"] for entry in answer["generations"]] == [1]
    assert [entry["version"] for entry in answer["versions"]] == [1]
    assert answer["refused"] == []


def test_version_is_shown_and_an_unknown_one_is_not_found(http: Http) -> None:
    assert http.get("/v1/models/1").json["generation"] == 1
    unknown = http.get("/v1/models/99")
    assert (unknown.status, unknown.error["field"]) == (404, "version")
    assert http.get("/v1/models/one").status == 422


def test_generation_that_cannot_be_made_live_is_refused(http: Http) -> None:
    assert http.post("/v1/models/9:promote", b"").status == 404
    assert http.post("/v1/models/1:rollback", b"").status == 409
    assert http.post("/v1/models/x:promote", b"").status == 422


def test_rollback_and_promotion_change_who_scores(tmp_path: Path) -> None:
    with model_world(tmp_path) as world, gateway(config_for(world)) as http:
        wait_until_ready(http)
        second_generation(world)
        for verb, generation in (("rollback", 1), ("promote", 2), ("rollback", 1)):
            reply = http.post(f"/v1/models/{generation}:{verb}", b"")
            assert (reply.status, reply.json) == (200, {"live": generation})
            wait_until(
                lambda wanted=generation: http.post("/v1/score", score_body()).json["generation"] == wanted,  # type: ignore[misc]
                "the scorer did not follow",
            )
            assert http.get("/v1/models").json["live"] == generation


def test_status_tells_of_the_live_model_and_its_refusals(world: ModelWorld, http: Http) -> None:
    http.post("/v1/score", score_body())
    world.store.report_refused({"version": 5, "reasons": ["calibration"]})
    status: dict[str, Any] = {}

    def is_shown() -> bool:
        status.update(http.get("/v1/status").json)
        # A model that is asked how it is has a second to answer, which it misses on a busy machine.
        return bool(status["refused"]) and not status["missing"]

    wait_until(is_shown, "the refusal was not shown")
    assert status["refused"] == [{"version": 5, "reasons": ["calibration"]}]
    assert (status["version"], status["generation"]) == (1, 1)
    assert status["requests"]["scored"] > 0
    assert status["latency_ms"]["p99"] >= status["latency_ms"]["p50"] > 0


def test_metrics_are_prometheus_text_with_the_names_of_the_table(http: Http) -> None:
    http.post("/v1/score", score_body())
    http.post("/v1/score", b"{")
    text = http.get("/metrics").body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    known = {metric.name.removesuffix("_total") for metric in METRICS}
    assert {name for name in families if not name.endswith("_created")} <= known
    outcomes = {sample.labels["outcome"]: sample.value for sample in families["freshet_score_requests"].samples}
    assert outcomes["scored"] > 0
    assert outcomes["refused"] > 0
    assert {s.labels["arm"]: s.value for s in families["freshet_served_version"].samples}["default"] == 1
    assert families["freshet_served_freshness_seconds"].samples[0].value > 0


def test_arms_without_number_do_not_make_metrics_without_number(http: Http) -> None:
    for number in range(100):
        http.post("/v1/score", score_body(arm=f"arm{number}"))
    text = http.get("/metrics").body.decode()
    assert 2 < text.count("freshet_served_version{") <= 33


def test_healthz_is_alive(http: Http) -> None:
    assert http.get("/healthz").json == {"status": "alive"}


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_load_nothing_from_other_hosts(http: Http, path: str) -> None:
    reply = http.get(path)
    assert reply.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert re.findall(rb"(?:src|href)=[\"'](?!/[^/])", reply.body) == []
    assert b"://" not in reply.body


def test_document_names_every_route_and_the_fields_of_its_bodies(http: Http) -> None:
    document = http.get("/openapi.json").json
    assert set(document["paths"]) == {
        "/", "/docs", "/openapi.json", "/v1/score", "/v1/recommend", "/v1/events", "/v1/models", "/v1/models/{version}",
        "/v1/models/{generation}:rollback", "/v1/models/{generation}:promote", "/v1/status", "/healthz", "/readyz",
        "/metrics",
    }  # fmt: skip
    schemas = document["components"]["schemas"]
    assert {"unit_id", "candidates", "user", "context", "request_id"} <= set(schemas["ScoreRequest"]["properties"])
    answer = http.post("/v1/score", score_body()).json
    assert set(answer) == set(schemas["ScoreAnswer"]["properties"])
    assert set(http.get("/v1/status").json) == set(schemas["StatusAnswer"]["properties"])
    references = re.findall(r'"\$ref": ?"#/components/schemas/(\w+)"', json.dumps(document))
    assert set(references) <= set(schemas)


def test_path_and_method_that_do_not_exist_answer_in_the_one_shape(http: Http) -> None:
    assert (http.get("/v2").status, http.get("/v2").error["code"]) == (404, "not_found")
    assert (http.get("/v1/score").status, http.get("/v1/score").error["code"]) == (405, "method_not_allowed")

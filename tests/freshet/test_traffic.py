"""Live traffic from a recorded log, against a real gateway: everything is sent once, and every error is counted."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from freshet.traffic import Traffic, TrafficConfig, TrafficResult
from streams.contract.errors import InputError
from streams.contract.events import Event, Feedback, Impression
from streams.log.embedded_store import FILE_NAME
from tests.support.foreign_server import foreign_server
from tests.support.gateway import Http, config_for, gateway, read_events, wait_until_ready
from tests.support.ports import free_port
from tests.support.serving_model import ModelWorld, model_world
from tests.support.valkey import wait_until

ADS = ["1", "2", "3"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ModelWorld]:
    with model_world(tmp_path) as world:
        yield world


@pytest.fixture
def http(world: ModelWorld) -> Iterator[Http]:
    with gateway(config_for(world)) as http:
        wait_until_ready(http)
        yield http


def impression(number: int, **changes: object) -> Impression:
    fields: dict[str, object] = {
        "event_id": f"i{number}", "event_time_ms": number, "session_id": f"s{number}", "unit_id": "u",
        "ad_ids": ADS, "user": {"user": "u", "history": ["a"]},
        "candidates": {"article": ["a", "b", "c"], "age": [1.0, 2.0, 3.0]},
    }  # fmt: skip
    return Impression(**{**fields, **changes})  # type: ignore[arg-type]


def click(number: int) -> Feedback:
    return Feedback(event_id=f"c{number}", event_time_ms=number, session_id=f"s{number}",
                    impression_id=f"i{number}", ad_id="2", kind="click")  # fmt: skip


def send(address: str, events: list[Event], config: TrafficConfig | None = None) -> TrafficResult:
    return asyncio.run(Traffic(address, config or TrafficConfig(), lambda result: None).run(iter(events)))


def test_every_request_and_click_arrives_once_and_clicks_after_their_impression(http: Http, world: ModelWorld) -> None:
    events: list[Event] = [event for n in range(150) for event in (impression(n), click(n))]
    result = send(f"http://{http.host}", events)
    assert (result.requests, result.errors, result.feedback) == (150, 0, 150), result.first_error
    assert result.candidates == 150 * len(ADS)
    assert len(result.latencies_ms) == 150
    assert result.versions == {1: 150}
    wait_until(lambda: len(read_events(world.log)) >= 300, "not all was logged")
    assert sorted(e.event_id for e in read_events(world.log)) == sorted(e.event_id for e in events)


def test_clicks_that_gather_while_others_are_under_way_are_sent_at_the_end(http: Http, world: ModelWorld) -> None:
    log = sqlite3.connect(world.folder / "log" / FILE_NAME, isolation_level=None, check_same_thread=False)
    log.execute("BEGIN IMMEDIATE")
    # Until then the log takes nothing, so the first clicks are under way while all else is sent.
    released = threading.Timer(1.0, lambda: log.execute("ROLLBACK"))
    released.start()
    result = send(f"http://{http.host}", [event for n in range(20) for event in (impression(n), click(n))])
    released.join()
    log.close()
    assert (result.feedback, result.errors) == (20, 0), result.first_error


def test_refused_requests_are_counted_with_the_first_reason(http: Http) -> None:
    bad = impression(1, candidates={"article": ["a"], "age": [1.0]})
    result = send(f"http://{http.host}", [impression(0), bad, impression(2)])
    assert (result.requests, result.errors, len(result.latencies_ms)) == (3, 1, 2)
    assert "article" in result.first_error


def test_refused_feedback_is_an_error_too() -> None:
    with foreign_server() as port:
        result = send(f"http://127.0.0.1:{port}", [impression(0), click(0)])
    assert (result.requests, result.errors, result.feedback) == (1, 2, 0)


def test_gateway_that_is_away_is_an_error_for_each_request() -> None:
    result = send(f"http://127.0.0.1:{free_port()}", [impression(0), impression(1)])
    assert (result.errors, result.candidates) == (2, 0)
    assert "Connect" in result.first_error


def test_requests_in_flight_stay_within_the_number_of_clients(http: Http) -> None:
    most = 0
    traffic: Traffic

    def look(result: TrafficResult) -> None:
        nonlocal most
        most = max(most, len(traffic._open))

    traffic = Traffic(f"http://{http.host}", TrafficConfig(clients=3), look)
    result = asyncio.run(traffic.run(iter([impression(n) for n in range(60)])))
    assert result.errors == 0
    assert most == 3


@pytest.mark.parametrize(
    ("name", "value"), [("clients", 0), ("clients", -1), ("rate_per_second", -1.0), ("rate_per_second", float("nan"))]
)
def test_impossible_pressure_is_an_input_error(name: str, value: float) -> None:
    with pytest.raises(InputError) as caught:
        TrafficConfig(**{name: value})  # type: ignore[arg-type]
    assert caught.value.field == name.removesuffix("_per_second")

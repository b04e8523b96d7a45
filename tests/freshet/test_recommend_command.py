"""`freshet recommend` and `freshet model --model recommender` against a real gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from freshet.cli import main
from tests.support.gateway import Http, config_for, gateway, logged, read_events, wait_until_ready
from tests.support.serving_model import ModelWorld, model_world
from tests.support.valkey import wait_until


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelWorld]:
    with model_world(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture(scope="module")
def url(world: ModelWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway that has seen three items."""
    with gateway(config_for(world, spool_dir=tmp_path_factory.mktemp("spool"))) as http:
        wait_until_ready(http)
        see(http, ["a", "b", "c"])
        yield f"http://{http.host}"


def see(http: Http, items: list[str]) -> None:
    """Posts an impression of the items and waits until they can be recommended."""
    event = {"type": "impression", "event_id": "seen", "event_time_ms": 1, "session_id": "s", "unit_id": "u",
             "ad_ids": items, "candidates": {"article": items}}  # fmt: skip
    http.post("/v1/events", event)
    ask = {"unit_id": "u", "k": 9, "arm": "ctr", "log": False}
    wait_until(lambda: len(http.post("/v1/recommend", ask).json["items"]) == len(items), "items were not taken up")


def test_items_are_shown_best_first_without_those_in_the_history(
    url: str, world: ModelWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["recommend", "--url", url, "--user", "u42", "-k", "5", "--arm", "ctr", "--history", "a, b"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "arm ctr, answered by ctr, version 1 of generation 1" in shown
    assert main([*command, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [item["item_id"] for item in answer["items"]] == ["c"]
    (event,) = logged(world, answer["request_id"])
    assert (event.unit_id, event.ad_ids) == ("u42", ["c"])


def test_second_arm_is_shown_below_the_first_and_nothing_is_logged_where_so_told(
    url: str, world: ModelWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["recommend", "--url", url, "--user", "u", "--also", "ctr", "--exclude", "c", "--no-log"]
    assert main(command) == 0
    first, second = capsys.readouterr().out.split("\n\n")
    assert "arm generative, answered by ctr" in first
    assert "flags: recommender_unavailable" in first
    assert "arm ctr, answered by ctr" in second
    before = len(read_events(world.log))
    assert main([*command[:-1]]) == 0
    wait_until(lambda: len(read_events(world.log)) == before + 1, "one answer of two is logged")


def test_recommenders_versions_are_listed_apart(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "list", "--url", url, "--json"]) == 0
    ads = json.loads(capsys.readouterr().out)
    assert main(["model", "list", "--model", "recommender", "--url", url, "--json"]) == 0
    recommender = json.loads(capsys.readouterr().out)
    assert (ads["model"], ads["live"], recommender["model"], recommender["live"]) == ("ads", 1, "recommender", None)
    assert main(["model", "rollback", "1", "--model", "recommender", "--url", url, "--json"]) != 0
    assert main(["model", "list", "--model", "nosuch", "--url", url]) == 2


def test_what_the_gateway_refuses_names_the_field(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", "--url", url, "--user", "u", "-k", "0", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["field"] == "k"

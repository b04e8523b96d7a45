"""The services of one stack, long-lived: up, status, down; and what is told where they do not come up."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from freshet.running import alive
from freshet.stack import Bounds, Stack, StackConfig, joiner_windows, load_state, valkey_command
from streams.contract.errors import ConflictError, FreshetError, InputError
from streams.contract.events import Impression
from streams.datasets.options import DatasetOptions
from streams.datasets.registry import schema_path
from streams.log.event_log import EVENTS, Append, open_log
from streams.replay import open_recording
from tests.support.stacks import Done, freshet
from tests.support.triton import need_triton
from tests.support.valkey import wait_until

SCHEMA = schema_path("simulator:small")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """For `up --dir`; what runs from there is stopped at the end, whatever the test found."""
    yield tmp_path / "up"
    if (tmp_path / "up" / "services.json").exists():
        freshet("down", "--dir", tmp_path / "up")


@pytest.mark.slow
@pytest.mark.triton
def test_up_status_score_and_down_go_round(folder: Path) -> None:
    need_triton()
    assert SCHEMA is not None
    up = freshet("up", "--schema", SCHEMA, "--dir", folder, "--json")
    assert up.code == 0, up.stderr
    services = {service["name"]: service for service in up.json["services"]}
    assert list(services) == ["store", "scorer", "gateway", "joiner", "trainer"]
    assert all(service["running"] for service in services.values())
    assert len(up.survivors) >= len(services), "services outlive the command that started them"

    status = freshet("status", "--dir", folder, "--json")
    assert without_the_gateways_health(status.json) == without_the_gateways_health(up.json)
    wait_until(lambda: _lacks_a_version(folder), "`freshet status` does not tell what the gateway lacks")
    assert "trainer" in freshet("status", "--dir", folder).stdout
    assert all(service["health"] == "ok" for name, service in services.items() if name != "gateway")
    _check_metrics(services)
    again = freshet("up", "--schema", SCHEMA, "--dir", folder, "--json")
    assert (again.code, again.json["error"]["field"]) == (2, "dir")
    _check_score(folder)

    down = freshet("down", "--dir", folder, "--json")
    assert [service["name"] for service in down.json["services"]] == [*reversed(services)]
    assert all(service["stopped"] for service in down.json["services"])
    assert not any(alive(service["pid"]) for service in services.values())
    gone = freshet("status", "--dir", folder, "--json")
    assert (gone.code, gone.json["error"]["field"]) == (2, "dir")


def _check_metrics(services: dict[str, dict[str, str]]) -> None:
    """Every service but the store has a page, with a metric of its own on it."""
    own = {"scorer": "freshet_scorer_hot_rows", "gateway": "freshet_requests_in_flight",
           "joiner": "freshet_join_lag_events", "trainer": "freshet_examples_per_second"}  # fmt: skip
    assert services["store"]["metrics"] == ""
    for name, metric in own.items():
        wait_until(partial(_shows, services[name]["metrics"], metric), f"{name} does not show {metric}")


def _shows(page: str, metric: str) -> bool:
    with urllib.request.urlopen(page, timeout=30) as answer:
        return metric in answer.read().decode()


def without_the_gateways_health(told: dict[str, Any]) -> dict[str, Any]:
    """All else that was told: what the gateway lacks changes as the others come up."""
    services = [{**each, "health": ""} if each["name"] == "gateway" else each for each in told["services"]]
    return {**told, "services": services}


def _lacks_a_version(folder: Path) -> bool:
    """Whether the gateway has found the scorer, which nobody has published anything to."""
    services = freshet("status", "--dir", folder, "--json").json["services"]
    [health] = [service["health"] for service in services if service["name"] == "gateway"]
    return bool(health == "model: no generation is live; ranker: not_ready, no version is loaded")


def _check_score(folder: Path) -> None:
    """The stack of the folder answers a request, though nothing has been learnt yet."""
    [first, *_] = open_recording("simulator:small", DatasetOptions(max_impressions=1)).events
    assert isinstance(first, Impression)
    request = folder / "request.json"
    candidates = {"ad_id": first.ad_ids, **first.candidates}
    body = {"unit_id": first.unit_id, "user": first.user, "context": first.context, "candidates": candidates}
    request.write_text(json.dumps(body))
    scored: Done = freshet("score", "--file", request, "--dir", folder, "--json")
    assert scored.code == 0, scored.stderr
    assert sorted(scored.json["ranking"]) == list(range(len(first.ad_ids)))


def test_service_that_fails_is_told_and_everything_is_stopped_again(tmp_path: Path) -> None:
    spool = tmp_path / "stack" / "spool"
    spool.parent.mkdir()
    spool.write_text("a file where the gateway wants a folder")
    stack = _stack(tmp_path)
    with pytest.raises(FreshetError) as caught:
        stack.start(lambda told: None)
    assert caught.value.field == "gateway"
    assert str(tmp_path / "stack" / "logs" / "gateway.log") in str(caught.value.remedy)
    assert stack.children == []


def test_stopped_stack_has_no_process_left(tmp_path: Path) -> None:
    stack = _stack(tmp_path)
    stack.start(lambda told: None)
    pids = [child.process.pid for child in stack.children]
    stack.check()
    stack.stop()
    assert len(pids) == 2
    assert not any(map(alive, pids))


def test_check_of_stack_whose_gateway_died_names_it(tmp_path: Path) -> None:
    stack = _stack(tmp_path)
    stack.start(lambda told: None)
    try:
        gateway = stack.child("gateway")
        gateway.process.kill()
        gateway.process.wait()
        with pytest.raises(FreshetError) as caught:
            stack.check()
        assert caught.value.field == "gateway"
    finally:
        stack.stop()


def test_run_to_the_end_on_log_with_records_is_refused(tmp_path: Path) -> None:
    log = open_log(f"embedded:{tmp_path / 'log'}")
    log.create_topic(EVENTS, 2)
    log.append([Append(log.partitions(EVENTS)[1], b"of an earlier run")])
    log.close()
    with pytest.raises(ConflictError) as caught:
        _stack(tmp_path, log=log.address, exit_at_end=True).start(lambda told: None)
    assert caught.value.field == "log"
    assert caught.value.remedy


@pytest.mark.parametrize("write", [lambda path: None, lambda path: path.write_text("{")])
def test_state_that_is_missing_or_damaged_is_an_input_error(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / "services.json")
    with pytest.raises(InputError, match="nothing was started"):
        load_state(tmp_path / "services.json")


def test_windows_of_each_kind_reach_the_joiner(tmp_path: Path) -> None:
    config = StackConfig(folder=tmp_path, schema=tmp_path, windows_ms={"click": 1_800_000, "conversion": 604_800_500})
    assert joiner_windows(config) == ["--window", "click=1800.0", "--window", "conversion=604800.5"]
    assert joiner_windows(StackConfig(folder=tmp_path, schema=tmp_path, window_seconds=2)) == ["--window", "click=2.0"]


@pytest.mark.parametrize(("durable", "appends"), [(True, "yes"), (False, "no")])
def test_valkey_listens_on_loopback_alone(durable: bool, appends: str, tmp_path: Path) -> None:
    command = valkey_command(7000, tmp_path / "store", durable=durable)
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert (options["--bind"], options["--port"], options["--appendonly"]) == ("127.0.0.1", "7000", appends)


def _stack(tmp_path: Path, **changes: object) -> Stack:
    """Store and gateway alone."""
    given = {"folder": tmp_path / "stack", "schema": tmp_path, "triton": "inprocess", "learns": False, **changes}
    return Stack(StackConfig(**given))  # type: ignore[arg-type]


def test_bounds_that_are_set_are_options_of_the_command_they_belong_to() -> None:
    bounds = Bounds(table_rows=500, max_hot_rows=70)
    assert bounds.options("table_rows", "tombstone_seconds") == ["--table-rows", "500"]
    assert bounds.options("max_hot_rows", "max_unknown_ids") == ["--max-hot-rows", "70"]
    assert Bounds().options("table_rows", "max_hot_rows") == []

"""Starting and stopping a gateway, and what it does without the servers it relies on."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from serving.gateway.app import create_server
from serving.gateway.keys import Role, new_key, save_keys
from serving.gateway.limits import LimitsConfig
from streams.contract.errors import InputError
from tests.support.gateway import Http, config_for, gateway, logged, read_events, score_body, wait_until_ready
from tests.support.ports import free_ports
from tests.support.serving_model import ModelWorld
from tests.support.triton import BlockingClient, need_triton, ranker
from tests.support.valkey import wait_until


def test_gateway_without_model_or_scorer_answers_flagged_and_is_not_ready(world: ModelWorld, tmp_path: Path) -> None:
    absent = config_for(world, triton=f"127.0.0.1:{free_ports(1)[0]}", spool_dir=tmp_path / "spool")
    alone = dataclasses.replace(absent, redis=f"redis://127.0.0.1:{free_ports(1)[0]}")
    with gateway(alone) as http:
        answer = http.post("/v1/score", score_body(request_id="alone")).json
        assert (answer["version"], answer["flags"], len(answer["scores"])) == (0, ["ranker_unavailable"], 3)
        assert answer["freshness_seconds"] is None
        ready = http.get("/readyz")
        assert (ready.status, ready.json["ready"], len(ready.json["missing"])) == (503, False, 2)
        assert http.get("/v1/models").status == 503
        assert http.get("/v1/status").status == 200
        assert http.get("/healthz").status == 200
        (event,) = logged(world, "alone")
        assert (event.version, event.flags) == (0, ["ranker_unavailable"])


def test_what_was_shown_is_logged_before_the_gateway_ends(world: ModelWorld, tmp_path: Path) -> None:
    config = config_for(world, triton="127.0.0.1:1", spool_dir=tmp_path / "spool")
    with gateway(config) as http:
        for number in range(20):
            assert http.post("/v1/score", score_body(request_id=f"last{number}")).status == 200
    found = {event.event_id for event in read_events(world.log)}
    assert {f"last{number}" for number in range(20)} <= found


def test_port_that_is_taken_is_named(world: ModelWorld, http: Http, tmp_path: Path) -> None:
    port = int(http.host.rpartition(":")[2])
    with pytest.raises(InputError, match=f"port: is taken .got {port}.") as refused:
        create_server(config_for(world, spool_dir=tmp_path / "spool", port=port))
    assert refused.value.remedy


def test_address_open_to_others_needs_keys(world: ModelWorld, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no API keys"):
        create_server(config_for(world, spool_dir=tmp_path / "spool", host="0.0.0.0"))


@pytest.mark.parametrize("change", [{"log": "ftp://x"}, {"triton": "ftp://x"}, {"redis": ""}, {"port": 70_000}])
def test_address_that_is_none_is_refused(world: ModelWorld, tmp_path: Path, change: dict[str, Any]) -> None:
    config = config_for(world, triton="127.0.0.1:1", spool_dir=tmp_path / "spool")
    with pytest.raises(InputError, match=next(iter(change))):
        create_server(dataclasses.replace(config, **change))


def test_keys_open_what_their_roles_allow(world: ModelWorld, tmp_path: Path) -> None:
    roles: tuple[Role, ...] = ("score", "ingest", "admin")
    keys = {role: new_key([role]) for role in roles}
    save_keys(tmp_path / "keys.json", [kept for _, kept in keys.values()])
    config = config_for(
        world, triton="127.0.0.1:1", spool_dir=tmp_path / "spool", keys_file=tmp_path / "keys.json", host="0.0.0.0"
    )
    with gateway(config) as http:
        http.host = http.host.replace("0.0.0.0", "127.0.0.1")

        def statuses(headers: dict[str, str]) -> list[int]:
            return [
                http.post("/v1/score", score_body(), headers).status,
                http.post("/v1/recommend", {"unit_id": "u", "k": 1}, headers).status,
                http.post("/v1/events", [], headers).status,
                http.post("/v1/models/9:promote", b"", headers).status,
                http.get("/v1/status", headers).status,
                http.get("/healthz", headers).status,
            ]

        assert statuses({}) == [401, 401, 401, 401, 401, 200]
        assert statuses({"Authorization": "Bearer fk_no_key"}) == [401, 401, 401, 401, 401, 200]
        as_role = {role: statuses({"Authorization": f"Bearer {key}"}) for role, (key, _) in keys.items()}
        assert as_role["score"] == [200, 200, 403, 403, 200, 200]
        assert as_role["ingest"] == [403, 403, 202, 403, 200, 200]
        assert as_role["admin"] == [200, 200, 202, 404, 200, 200]


@pytest.mark.triton
def test_stalled_scorer_means_flags_by_the_deadline_and_429_beyond_the_bound(world: ModelWorld, tmp_path: Path) -> None:
    need_triton()
    with ranker(tmp_path / "triton", world.scorer_config()) as server:
        client = BlockingClient(server.http_address)
        client.wait_for_version(1)
        client.close()
        limits = LimitsConfig(max_in_flight=2, deadline_ms=20_000)
        config = config_for(world, triton=server.http_address, spool_dir=tmp_path / "spool", limits=limits)
        with gateway(config) as http, ThreadPoolExecutor(2) as threads:
            wait_until_ready(http)
            assert http.post("/v1/score", score_body()).json["version"] > 0
            signal_group(server.pid, signal.SIGSTOP)
            try:
                late = http.post("/v1/score", score_body(), {"X-Deadline-Ms": "50"})
                assert (late.status, late.json["flags"], late.json["version"]) == (200, ["deadline"], 0)
                waiting = [threads.submit(http.post, "/v1/score", score_body()) for _ in range(2)]
                wait_until(lambda: http.get("/v1/status").json["requests_in_flight"] == 2, "they were not taken")
                refused = http.post("/v1/score", score_body())
                assert (refused.status, refused.error["code"]) == (429, "overloaded")
                assert int(refused.headers["retry-after"]) >= 1
            finally:
                signal_group(server.pid, signal.SIGCONT)
            assert all(each.result().json["version"] > 0 for each in waiting)


def signal_group(pid: int, number: int) -> None:
    """Signals a server and its helpers."""
    os.killpg(pid, number)


def test_serve_ends_in_good_order_on_a_signal(world: ModelWorld, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from serving.gateway.app import GatewayConfig, serve; "
        "serve(GatewayConfig(log=sys.argv[1], redis=sys.argv[2], triton='127.0.0.1:1', port=0, "
        "spool_dir=Path(sys.argv[3])), lambda address: print(address, flush=True))"
    )
    command = [sys.executable, "-c", code, world.log.address, world.redis.address, str(tmp_path / "spool")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            http = Http(process.stdout.readline().strip())
            assert http.post("/v1/score", score_body(request_id="signalled")).status == 200
        finally:
            process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert logged(world, "signalled")

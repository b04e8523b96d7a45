"""API keys through the command: made, listed, revoked, and never kept in the clear."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from freshet.cli import main
from serving.gateway.app import GatewayConfig
from serving.gateway.auth import Gate
from serving.gateway.http_errors import UnauthorisedError
from serving.gateway.keys import load_keys, new_key, read_keys, save_keys
from streams.contract.errors import InputError, NotFoundError, UnavailableError
from tests.support.gateway import Http, gateway
from tests.support.ports import free_port
from tests.support.stacks import ROOT
from tests.support.valkey import wait_until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def keys(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    """The JSON answer of `freshet keys ARGUMENTS`."""
    main(["keys", *map(str, arguments), "--json"])
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def bearer(key: str) -> dict[bytes, bytes]:
    return {b"authorization": f"Bearer {key}".encode()}


def test_new_key_passes_the_gate_until_it_is_revoked(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    made = keys(capsys, "new", "--access", "score,ingest", "--file", path)
    other = keys(capsys, "new", "--access", "admin", "--file", path)
    assert made["access"] == ["score", "ingest"]
    gate = Gate.for_address("0.0.0.0", path)
    gate.check(bearer(made["key"]), "ingest")
    gate.check(bearer(other["key"]), "ingest")

    left = keys(capsys, "revoke", made["id"], "--file", path)
    assert [key["id"] for key in left["keys"]] == [other["id"]]
    gate = Gate.for_address("0.0.0.0", path)
    gate.check(bearer(other["key"]), "ingest")
    with pytest.raises(UnauthorisedError):
        gate.check(bearer(made["key"]), "ingest")


def test_running_gateway_takes_a_new_key_and_refuses_a_revoked_one(
    capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    first = keys(capsys, "new", "--access", "score", "--file", path)
    config = GatewayConfig(
        log=f"embedded:{path.parent / 'log'}", redis=f"redis://127.0.0.1:{free_port()}",
        triton=f"http://127.0.0.1:{free_port()}", port=0, spool_dir=path.parent / "spool", keys_file=path,
    )  # fmt: skip
    with gateway(config) as http:
        assert _status(http, first) == 200
        second = keys(capsys, "new", "--access", "score", "--file", path)
        wait_until(lambda: _status(http, second) == 200, "the new key does not count")
        keys(capsys, "revoke", first["id"], "--file", path)
        wait_until(lambda: _status(http, first) == 401, "the revoked key counts on")
        assert _status(http, second) == 200


def _status(http: Http, made: dict[str, Any]) -> int:
    return http.get("/metrics", {"Authorization": f"Bearer {made['key']}"}).status


def test_secret_is_shown_by_new_alone_and_stands_in_no_file(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    made = keys(capsys, "new", "--access", "score", "--file", path)
    secret = made["key"].removeprefix(f"fk_{made['id']}_")
    assert len(secret) == 43
    assert secret not in path.read_text()
    listed = keys(capsys, "list", "--file", path)
    assert listed["keys"] == [{name: made[name] for name in ("id", "access", "created_ms")}]
    assert load_keys(path)[0].sha256 not in json.dumps(listed)
    assert main(["keys", "list", "--file", str(path)]) == 0
    shown = capsys.readouterr().out
    assert made["id"] in shown
    assert secret not in shown


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_file_is_readable_by_its_owner_alone_and_nothing_lies_beside_it(
    capsys: pytest.CaptureFixture[str], path: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        keys(capsys, "new", "--access", "score", "--file", path)
        path.chmod(0o644)
        keys(capsys, "new", "--access", "score", "--file", path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_keys_made_at_the_same_time_are_all_kept(path: Path) -> None:
    command = [sys.executable, "-m", "freshet", "keys", "new", "--access", "score", "--file", str(path)]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert len({key.id for key in load_keys(path)}) == 4


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["new", "--access", "owner"], "access", "owner"),
        (["new"], "access", ""),
        (["new", "mine", "--access", "score"], "id", "mine"),
        (["list", "--access", "score"], "access", "score"),
        (["revoke"], "id", ""),
        (["revoke", "nosuch"], "id", "nosuch"),
    ],
)
def test_wrong_arguments_are_told_and_change_nothing(
    arguments: list[str], field: str, value: str, capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    save_keys(path, [new_key(["admin"])[1]])
    before = path.read_bytes()
    error = keys(capsys, *arguments, "--file", path)["error"]
    assert error["field"] == field
    assert value in error["message"]
    assert error["remedy"]
    assert path.read_bytes() == before


def test_file_that_is_none_is_told(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    assert keys(capsys, "list", "--file", path)["error"]["code"] == "not_found"
    assert keys(capsys, "new", "--access", "score", "--file", path / "no" / "keys.json")["error"]["field"] == "api_keys"
    path.write_text('["of another kind"]')
    told = keys(capsys, "new", "--access", "score", "--file", path)
    assert told["error"]["field"] == "api_keys"
    assert path.read_text() == '["of another kind"]'


def test_file_that_cannot_be_replaced_stays_and_leaves_nothing_half_written(path: Path) -> None:
    path.mkdir()
    with pytest.raises(UnavailableError, match="cannot be written"):
        save_keys(path, [])
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("content", [None, "", "{}", '{"keys": []}', '{"keys": [{"id": "a"}]}'])
def test_file_without_a_key_is_refused_by_the_gateway(path: Path, content: str | None) -> None:
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match="api_keys"):
        load_keys(path)


def test_missing_file_is_told_apart_from_a_damaged_one(path: Path) -> None:
    with pytest.raises(NotFoundError, match="freshet keys new"):
        read_keys(path)


def test_unknown_role_is_refused() -> None:
    with pytest.raises(InputError, match="score, ingest, admin"):
        new_key(["owner"])

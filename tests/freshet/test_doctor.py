"""The doctor says what it found, and for what is amiss what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from freshet import doctor
from freshet.doctor import run_checks
from tests.support.foreign_server import foreign_server
from tests.support.ports import free_port
from tests.support.stacks import freshet
from tests.support.valkey import valkey_server

NAMES = ["python", "cores", "disk", "ports", "sqlite", "clock", "triton", "valkey", "java and maven",
         "log", "redis", "triton"]  # fmt: skip


def test_every_check_says_what_it_found(tmp_path: Path) -> None:
    checks = run_checks(tmp_path / "not" / "made" / "yet")
    assert [check["name"] for check in checks] == NAMES
    assert all(check["found"] for check in checks)
    assert not (tmp_path / "not").exists()


def test_every_failed_check_names_need_and_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "MIN_FREE_BYTES", 1 << 62)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("FRESHET_LOG", "paper://roll")
    monkeypatch.setenv("FRESHET_REDIS", f"redis://127.0.0.1:{free_port()}")
    monkeypatch.setenv("FRESHET_TRITON", f"http://127.0.0.1:{free_port()}")
    failed = [check for check in run_checks(tmp_path) if not check["ok"]]
    assert [check["name"] for check in failed] == ["disk", "java and maven", "log", "redis", "triton"]
    assert all(check["needed_for"] and check["remedy"] for check in failed)


def test_address_that_answers_with_something_else_is_amiss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with foreign_server() as port:
        monkeypatch.setenv("FRESHET_REDIS", f"redis://127.0.0.1:{port}")
        monkeypatch.setenv("FRESHET_TRITON", f"http://127.0.0.1:{port}")
        checks = run_checks(tmp_path)[-2:]
    assert [(check["name"], check["ok"]) for check in checks] == [("redis", False), ("triton", False)]


def test_servers_that_answer_are_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with valkey_server() as redis:
        monkeypatch.setenv("FRESHET_REDIS", redis.address)
        monkeypatch.setenv("FRESHET_TRITON", "inprocess")
        checks = run_checks(tmp_path)[-2:]
    assert [(check["found"], check["ok"]) for check in checks] == [(redis.address, True), ("inprocess", True)]


def test_doctor_command_prints_checks_as_json_and_as_text() -> None:
    as_json, as_text = freshet("doctor", "--json"), freshet("doctor")
    assert (as_json.code, as_text.code) == (0, 0)
    assert [check["name"] for check in as_json.json["checks"]] == NAMES
    assert as_text.stdout.startswith("ok    python: 3.11")

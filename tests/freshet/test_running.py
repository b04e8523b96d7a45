"""Processes of another command: ended where they are the ones meant, and left alone where only the number is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from freshet.running import alive, identity_of, runs, stop_process
from tests.support.stacks import freshet
from tests.support.valkey import wait_until

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as started:
        yield started
        started.kill()


def test_process_is_stopped_once_and_then_is_gone(process: subprocess.Popen[bytes]) -> None:
    identity = identity_of(process.pid)
    assert runs(process.pid, identity)
    assert stop_process(process.pid, identity)
    assert process.wait() == -signal.SIGTERM
    assert not stop_process(process.pid, identity)
    assert identity_of(process.pid) == ""


def test_process_that_ignores_sigterm_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE) as stubborn:
        assert stubborn.stdout is not None
        stubborn.stdout.readline()
        assert stop_process(stubborn.pid, identity_of(stubborn.pid), timeout_seconds=0.1)
        assert stubborn.wait() == -signal.SIGKILL


def test_process_that_ended_and_was_not_waited_for_does_not_run(process: subprocess.Popen[bytes]) -> None:
    identity = identity_of(process.pid)
    process.kill()
    wait_until(lambda: not runs(process.pid, identity), "it lives on")
    assert process.returncode is None
    assert not alive(process.pid)


@pytest.mark.parametrize("identity", ["", "another-boot/1"])
def test_process_that_has_the_number_of_another_is_left_alone(process: subprocess.Popen[bytes], identity: str) -> None:
    assert not runs(process.pid, identity)
    assert not stop_process(process.pid, identity)
    assert process.poll() is None


def test_two_processes_have_two_identities(process: subprocess.Popen[bytes]) -> None:
    assert identity_of(process.pid) != identity_of(os.getpid()) != ""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is the way that all other tests go")
def test_systems_without_proc_tell_processes_apart_through_ps(
    process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    identity = identity_of(process.pid)
    assert runs(process.pid, identity)
    assert stop_process(process.pid, identity)
    assert not alive(process.pid)


def test_down_leaves_a_stranger_with_the_number_of_a_service_alone(
    process: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    service = {"name": "gateway", "pid": process.pid, "identity": "another-boot/1", "log": "gateway.log"}
    (tmp_path / "services.json").write_text(json.dumps({"services": [service], "addresses": {}}))
    assert freshet("status", "--dir", tmp_path, "--json").json["services"][0]["health"] == "stopped"
    down = freshet("down", "--dir", tmp_path, "--json")
    assert [each["stopped"] for each in down.json["services"]] == [False]
    assert process.poll() is None
    assert not (tmp_path / "services.json").exists()

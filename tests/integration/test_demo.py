"""The main job end to end through the command: nothing lost, doubled or torn, and nothing left running."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.demo_account import KEYS, check_account
from tests.support.shared_data import shared_data
from tests.support.stacks import ROOT, environment, freshet, marked
from tests.support.triton import need_triton
from tests.support.valkey import wait_until

_VANISH_SECONDS = 60
"""Far less is usual; other tests may keep the machine busy."""

pytestmark = [pytest.mark.triton, pytest.mark.slow]


def test_demo_on_recorded_news_log_loses_doubles_and_tears_nothing(tmp_path: Path) -> None:
    need_triton()
    data = f"mind:{shared_data('mind')}"
    done = freshet("demo", "--data", data, "--events", 1500, "--rate", 40, "--dir", tmp_path, "--json")
    check_account(done, num_events=1500)


def test_demo_on_simulator_loses_doubles_and_tears_nothing(tmp_path: Path) -> None:
    need_triton()
    done = freshet("demo", "--data", "simulator:small", "--events", 3000, "--rate", 100, "--dir", tmp_path, "--json")
    check_account(done, num_events=3000)
    assert re.search(r"^paused for .*: a first version serves$", done.stderr, re.MULTILINE)
    assert done.json["flags"].get("ranker_unavailable", 0) < done.json["requests_scored"] / 2


def test_demo_on_log_of_an_earlier_demo_is_refused(tmp_path: Path) -> None:
    arguments = ("demo", "--events", 20, "--dir", tmp_path, "--triton", "inprocess", "--json")
    first, second = freshet(*arguments), freshet(*arguments)
    assert first.code == 0, first.stderr
    assert set(first.json) >= KEYS
    assert second.code == 1
    assert second.json["error"]["field"] == "log"
    assert second.survivors == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_demo_ended_by_signal_leaves_no_process(how: signal.Signals, tmp_path: Path) -> None:
    need_triton()
    marker = f"ended-by-{how.name}-{os.getpid()}"
    command = [sys.executable, "-m", "freshet", "demo", "--rate", "5", "--dir", str(tmp_path)]
    with (tmp_path / "demo.err").open("wb") as errors:
        demo = subprocess.Popen(command, cwd=ROOT, env=environment(marker), stderr=errors, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: _has_begun(tmp_path / "demo.err", demo), "the demo did not begin", 180)
        assert len(marked(marker)) >= 5
    finally:
        demo.send_signal(how)
        demo.wait(120)
    wait_until(lambda: marked(marker) == [], "processes of the demo live on", _VANISH_SECONDS)


def _has_begun(errors: Path, demo: subprocess.Popen[bytes]) -> bool:
    assert demo.poll() is None, errors.read_text()
    return re.search(r"^\d+ requests, ", errors.read_text(), re.MULTILINE) is not None

"""Child processes tell why they failed, are stopped, and do not outlive their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from freshet.processes import Child, spawn, tail
from freshet.running import alive
from streams.contract.errors import FreshetError
from tests.support.stacks import ROOT
from tests.support.valkey import wait_until

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
UP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
IGNORING = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); "
STUBBORN = [sys.executable, "-c", IGNORING + "time.sleep(600)"]


def test_check_of_failed_child_raises_with_end_of_its_output(tmp_path: Path) -> None:
    child = spawn("worker", [sys.executable, "-c", "import sys; sys.exit('no luck today')"], tmp_path)
    child.process.wait()
    with pytest.raises(FreshetError, match="exit code 1: no luck today") as caught:
        child.check()
    assert caught.value.field == "worker"
    assert str(tmp_path / "worker.log") in str(caught.value.remedy)


def test_check_of_running_and_of_well_ended_child_is_silent(tmp_path: Path) -> None:
    ended = spawn("ended", [sys.executable, "-c", "pass"], tmp_path)
    ended.process.wait()
    ended.check()
    running = spawn("running", SLEEP, tmp_path)
    running.check()
    running.stop()


def test_stop_ends_child_and_may_be_called_twice(tmp_path: Path) -> None:
    child = spawn("worker", SLEEP, tmp_path)
    child.stop()
    child.stop()
    assert child.process.returncode == -signal.SIGTERM
    assert not alive(child.process.pid)


def test_stop_of_child_that_ignores_sigterm_kills_it(tmp_path: Path) -> None:
    child = spawn("worker", STUBBORN, tmp_path)
    _wait_for_output(child)
    child.stop(timeout_seconds=0.1)
    assert child.process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(("detached", "outlives"), [(False, False), (True, True)])
def test_child_outlives_killed_parent_only_when_detached(detached: bool, outlives: bool, tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal, time; from freshet.processes import spawn\n"
        f"child = spawn('worker', {UP!r}, pathlib.Path({str(tmp_path)!r}), detached={detached})\n"
        "while not child.log_path.read_text(): time.sleep(0.01)\n"
        "print(child.process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    pid = int(done.stdout)
    if outlives:
        assert alive(pid)
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid), "it lives on")


def test_environment_is_added_to_that_of_the_parent(tmp_path: Path) -> None:
    program = "import os; print(os.environ['FRESHET_LOG'], 'PATH' in os.environ)"
    child = spawn("worker", [sys.executable, "-c", program], tmp_path, env={"FRESHET_LOG": "embedded:x"})
    child.process.wait()
    assert child.log_path.read_text() == "embedded:x True\n"


def test_tail_of_long_file_is_its_last_lines_and_of_none_is_empty(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("\n".join(map(str, range(100))))
    assert tail(tmp_path / "log", 3) == "97\n98\n99"
    assert tail(tmp_path / "nothing") == ""


def _wait_for_output(child: Child) -> None:
    wait_until(lambda: child.log_path.read_text() != "", "it did not come up")

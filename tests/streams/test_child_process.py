"""Children: a session of their own, and gone with their parent where it was asked for and can be had."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from streams.child_process import dying_with_parent, start_child

PROGRAM = "import os; print(os.getsid(0) == os.getpid(), os.environ['GIVEN'], 'HOME' in os.environ)"
TELL = [sys.executable, "-c", PROGRAM]


@pytest.mark.parametrize("death_signal", [None, signal.SIGKILL])
def test_child_leads_its_session_and_has_the_environment_given(
    death_signal: signal.Signals | None, tmp_path: Path
) -> None:
    with (tmp_path / "output").open("wb") as output:
        child = start_child(TELL, output, {"GIVEN": "this"}, death_signal=death_signal)
    assert child.wait() == 0
    assert (tmp_path / "output").read_text() == "True this False\n"


def test_program_that_looks_like_an_option_is_started_all_the_same() -> None:
    command = dying_with_parent(["-program", "--help"], signal.SIGTERM)
    assert command[-2:] == ["-program", "--help"]
    assert command[:-2] == [] or command[-3] == "--"


def test_without_setpriv_the_command_is_what_was_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    assert dying_with_parent(["sleep", "1"], signal.SIGKILL) == ["sleep", "1"]

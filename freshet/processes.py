"""Child processes that tell why they failed and never outlive their purpose."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from streams.contract.errors import FreshetError


@dataclass(frozen=True, slots=True)
class Child:
    """A started process: its name, its handle, and the file its output goes to."""

    name: str
    process: subprocess.Popen[bytes]
    log_path: Path

    def check(self) -> None:
        """Raises FreshetError with the end of its output where the process has failed."""
        code = self.process.poll()
        if code not in (None, 0):
            raise FreshetError(
                f"stopped with exit code {code}: {tail(self.log_path)}",
                field=self.name,
                remedy=f"read {self.log_path}",
            )

    def stop(self, timeout_seconds: float = 20.0) -> None:
        """Asks it to end (SIGTERM), and makes it end (SIGKILL) where it does not within the time."""
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def spawn(
    name: str, argv: Sequence[str], log_dir: Path, *, env: Mapping[str, str] | None = None, detached: bool = False
) -> Child:
    """Starts `argv`, output to `log_dir/NAME.log`.

    Unless detached, it dies with this process, where util-linux has setpriv.
    """
    log_dir.mkdir(parents=True, exist_ok=True)
    log_path = log_dir / f"{name}.log"
    setpriv = None if detached else shutil.which("setpriv")
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [setpriv, "--pdeathsig", "TERM", *argv] if setpriv else argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    return Child(name, process, log_path)


def interrupt_on_terminate() -> None:
    """From now on SIGTERM is KeyboardInterrupt here: what was started is stopped as after Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def freshet_command(*arguments: str) -> list[str]:
    """The command line of another Freshet process with this interpreter."""
    return [sys.executable, "-m", "freshet", *arguments]


def tail(path: Path, num_lines: int = 12) -> str:
    """The last lines of a log file."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-num_lines:])


def stop_pid(pid: int, timeout_seconds: float = 20.0) -> bool:
    """Ends a process that another command started; whether it was there."""
    if not alive(pid):
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_seconds
    while alive(pid):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.05)
    return True


def alive(pid: int) -> bool:
    """Whether a process of that number runs (one that ended and was not waited for does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return _answers_signals(pid) if not sys.platform.startswith("linux") else False
    return state != "Z"


def _answers_signals(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True

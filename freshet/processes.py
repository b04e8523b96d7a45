"""Child processes that tell why they failed and never outlive their purpose."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from streams.child_process import start_child
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

    Unless detached, it is asked to end when this process ends, where util-linux has setpriv.
    """
    log_dir.mkdir(parents=True, exist_ok=True)
    log_path = log_dir / f"{name}.log"
    death_signal = None if detached else signal.SIGTERM
    with log_path.open("ab") as log:
        process = start_child(argv, log, {**os.environ, **(env or {})}, death_signal=death_signal)
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

"""The processes that compute a Triton's models: children of the server, one a model, as /proc tells of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_STOPPED, _ENDED = "T", "Z"
_USER_TIME, _SYSTEM_TIME = 11, 12
"""Places behind the name in /proc/PID/stat."""


def model_processes(server_pid: int) -> dict[str, int]:
    """Model -> process id, of the server's children that run a model's file (`.../models/NAME/1/model.py`)."""
    found: dict[str, int] = {}
    for entry in _PROC.glob("[0-9]*"):
        if _state(int(entry.name), server_pid):
            files = [Path(part) for part in _command(entry) if part.endswith("/model.py")]
            found |= {file.parts[-3]: int(entry.name) for file in files}
    return found


class ModelProcesses:
    """Watches the processes of one server; looks for them anew only where one is gone."""

    def __init__(self, server_pid: int, models: Sequence[str]) -> None:
        self._server_pid = server_pid
        self._models = models
        self._pids: dict[str, int] = {}
        self._stopped: dict[int, tuple[float, int]] = {}
        """Process -> when it was first seen stopped, in `time.monotonic()` seconds, and the processor time it had."""

    def ended(self) -> list[str]:
        """The models that no process computes."""
        if any(not self._state(model) for model in self._models):
            self._pids = model_processes(self._server_pid)
        return [model for model in self._models if not self._state(model)]

    def kill_stopped(self, after_seconds: float) -> list[str]:
        """Kills processes that have been stopped (SIGSTOP) for so long and computed nothing; their models."""
        now = time.monotonic()
        self._stopped = {pid: self._since(pid, now) for model, pid in self._pids.items() if self._is_stopped(model)}
        killed = [model for model, pid in self._pids.items()
                  if pid in self._stopped and now - self._stopped[pid][0] >= after_seconds]  # fmt: skip
        for model in killed:
            with suppress(ProcessLookupError):
                os.kill(self._pids[model], signal.SIGKILL)
        return killed

    def _since(self, pid: int, now: float) -> tuple[float, int]:
        """When it was first seen as it is; one that computed since was running between two looks."""
        ticks = _ticks(pid)
        before = self._stopped.get(pid)
        return before if before is not None and before[1] == ticks else (now, ticks)

    def _is_stopped(self, model: str) -> bool:
        return self._state(model) == _STOPPED

    def _state(self, model: str) -> str:
        return _state(self._pids[model], self._server_pid) if model in self._pids else ""


def _state(pid: int, parent: int) -> str:
    """The letter that ps shows; "" where it has ended or is no child of that parent."""
    fields = _stat(pid)
    return fields[0] if fields and int(fields[1]) == parent and fields[0] != _ENDED else ""


def _ticks(pid: int) -> int:
    """Processor time of all its threads, in ticks of the clock; 0 where it has ended."""
    fields = _stat(pid)
    return int(fields[_USER_TIME]) + int(fields[_SYSTEM_TIME]) if fields else 0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name; none where it has ended."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _command(entry: Path) -> list[str]:
    try:
        return (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []

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
        self._stopped_at: dict[int, float] = {}
        """Process -> when it was first seen stopped, in `time.monotonic()` seconds."""

    def ended(self) -> list[str]:
        """The models that no process computes."""
        if any(not self._state(model) for model in self._models):
            self._pids = model_processes(self._server_pid)
        return [model for model in self._models if not self._state(model)]

    def kill_stopped(self, after_seconds: float) -> list[str]:
        """Kills processes that have been stopped (SIGSTOP) for so long, as far as was seen; their models."""
        now = time.monotonic()
        stopped = {model: pid for model, pid in self._pids.items() if self._state(model) == _STOPPED}
        self._stopped_at = {pid: self._stopped_at.get(pid, now) for pid in stopped.values()}
        killed = [model for model, pid in stopped.items() if now - self._stopped_at[pid] >= after_seconds]
        for model in killed:
            with suppress(ProcessLookupError):
                os.kill(stopped[model], signal.SIGKILL)
        return killed

    def _state(self, model: str) -> str:
        return _state(self._pids[model], self._server_pid) if model in self._pids else ""


def _state(pid: int, parent: int) -> str:
    """The letter that ps shows; "" where it has ended or is no child of that parent."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return fields[0] if int(fields[1]) == parent and fields[0] != _ENDED else ""


def _command(entry: Path) -> list[str]:
    try:
        return (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []

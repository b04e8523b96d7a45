"""Processes that another command started: known by their number and what tells them from a later one of that number."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_START_TIME = 19
"""Its place in /proc/PID/stat behind the name, which may hold spaces: clock ticks since the system started."""


def identity_of(pid: int) -> str:
    """When the process began and, on Linux, since which start of the system; empty where none of that number runs."""
    if not sys.platform.startswith("linux"):
        return _started_by_ps(pid)
    stat = _stat(pid)
    return f"{_BOOT_ID.read_text().strip()}/{stat[_START_TIME]}" if stat else ""


def runs(pid: int, identity: str) -> bool:
    """Whether that very process runs, not another that was given its number since."""
    return identity != "" and identity_of(pid) == identity


def stop_process(pid: int, identity: str, timeout_seconds: float = 20.0) -> bool:
    """Ends that very process: asks it (SIGTERM), then makes it (SIGKILL). Whether it was there."""
    if not runs(pid, identity):
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_seconds
    while runs(pid, identity):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.05)
    return True


def alive(pid: int) -> bool:
    """Whether a process of that number runs (one that ended and was not waited for does not)."""
    return identity_of(pid) != ""


def _stat(pid: int) -> list[str]:
    """The fields behind the name; none where the process has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [] if fields[0] == "Z" else fields


def _started_by_ps(pid: int) -> str:
    done = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True)
    state, _, started = done.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()

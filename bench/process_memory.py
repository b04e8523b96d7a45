"""Memory of a process and of all that it started, as Linux accounts for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_KIB_A_MIB = 1024.0


@dataclass(frozen=True, slots=True)
class Memory:
    """MiB. `resident` counts files and shared pages too; `anonymous` is what the processes themselves allocated."""

    resident: float
    anonymous: float


def memory_of(pid: int) -> Memory:
    """Of the process and its descendants, those that end meanwhile left out."""
    resident = anonymous = 0.0
    waiting = [pid]
    while waiting:
        number = waiting.pop()
        try:
            fields = _status(number)
            waiting += map(int, Path(f"/proc/{number}/task/{number}/children").read_text().split())
        except OSError:
            continue
        resident += fields.get("VmRSS", 0.0)
        anonymous += fields.get("RssAnon", 0.0)
    return Memory(resident, anonymous)


def _status(pid: int) -> dict[str, float]:
    """The lines of /proc/PID/status that are sizes, in MiB."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {words[0].rstrip(":"): float(words[1]) / _KIB_A_MIB for words in lines if words[-1:] == ["kB"]}

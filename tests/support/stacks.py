"""The command `freshet` in processes of its own, and whether any process it started outlived it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_MARKER = "FRESHET_TEST_MARKER"
_OWN_SETTINGS = ("FRESHET_LOG", "FRESHET_REDIS", "FRESHET_TRITON", "FRESHET_GATEWAY", "FRESHET_API_KEY")


@dataclass(frozen=True)
class Done:
    """A command that has ended. `num_processes` is the most that ran at once, itself among them."""

    code: int
    stdout: str
    stderr: str
    survivors: list[str]
    num_processes: int

    @property
    def json(self) -> Any:
        """The last line of standard output."""
        return json.loads(self.stdout.splitlines()[-1])


def environment(marker: str) -> dict[str, str]:
    """This process's, without settings of Freshet, with a marker that all descendants carry."""
    own = {name: value for name, value in os.environ.items() if name not in _OWN_SETTINGS}
    return {**own, _MARKER: marker}


def freshet(*arguments: str | int | Path, cwd: Path = ROOT, timeout_seconds: float = 480) -> Done:
    """Runs `freshet ARGUMENTS` to its end."""
    marker = uuid.uuid4().hex
    with _watched(marker) as most:
        done = subprocess.run(
            [sys.executable, "-m", "freshet", *map(str, arguments)],
            cwd=cwd,
            env={**environment(marker), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
        )
    return Done(done.returncode, done.stdout, done.stderr, marked(marker), most[0])


def marked(marker: str) -> list[str]:
    """The command lines of living processes that descend from the one that was given the marker."""
    wanted = f"{_MARKER}={marker}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


@contextmanager
def _watched(marker: str) -> Iterator[list[int]]:
    """Counts marked processes while the block runs: a watch that never saw one proves nothing."""
    most, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.5):
            most[0] = max(most[0], len(marked(marker)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        stop.set()
        thread.join()

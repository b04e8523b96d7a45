"""Services of Freshet as forks of one process that has the modules loaded, so that a restart costs no imports.

    python -m tests.support.fork_server      one JSON object a line in, one a line out

    {"start": ["join", "--log", …], "output": FILE}  ->  {"pid": N}
    {"wait": N}                                      ->  {"status": exit code, or minus the signal}

A fork runs the command as the shell would: the log and all threads are opened in it, none before.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from freshet.cli import main as freshet_main
from tests.support.stacks import ROOT

_LOADED_AHEAD = ("trainer.train_run", "streams.join.joiner", "streams.log.kafka_log", "streams.log.embedded_log")


class ForkServer:
    """Starts commands and tells how they ended; itself and all it started are gone after the `with` block."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", __name__],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        with self._process:
            pass

    def start(self, arguments: list[str], output: Path) -> int:
        """Starts `freshet ARGUMENTS`, its output added to the file; its process id."""
        return int(self._ask({"start": arguments, "output": str(output)})["pid"])

    def wait(self, pid: int) -> int:
        """Waits for its end; the exit code, or minus the signal that ended it."""
        return int(self._ask({"wait": pid})["status"])

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def _start(arguments: list[str], output: str) -> int:
    child = os.fork()
    if child:
        return child
    target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, to in ((0, nothing), (1, target), (2, target)):
        os.dup2(to, number)
    code = 70
    try:
        code = freshet_main(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Serves until its input ends."""
    for name in _LOADED_AHEAD:
        importlib.import_module(name)
    while line := sys.stdin.readline():
        question = json.loads(line)
        if "start" in question:
            answer = {"pid": _start(question["start"], question["output"])}
        else:
            answer = {"status": os.waitstatus_to_exitcode(os.waitpid(question["wait"], 0)[1])}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

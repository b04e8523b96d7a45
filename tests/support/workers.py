"""A worker command of `freshet` in a process of its own, and its metrics page."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.ports import free_port
from tests.support.stacks import ROOT, environment
from tests.support.valkey import wait_until

_START_SECONDS = 90.0


@dataclass(frozen=True)
class Worker:
    """A running command that has opened its page."""

    process: subprocess.Popen[bytes]
    url: str
    output: Path

    def scrape(self) -> dict[tuple[str, ...], float]:
        """(metric, values of its labels…) -> value."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            return {
                (sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples
            }

    def degraded(self) -> list[str]:
        """What its page says does not work."""
        with urllib.request.urlopen(f"{self.url}/healthz", timeout=10) as answer:
            found: list[str] = json.load(answer)["degraded"]
            return found

    def stop(self, timeout_seconds: float = 60) -> Any:
        """Asks it to end; the JSON object it leaves."""
        self.process.terminate()
        assert self.process.wait(timeout_seconds) == 0, self.output.read_text()
        return json.loads(self.output.read_text().splitlines()[-1])


@contextmanager
def worker(folder: Path, *arguments: str | int | Path) -> Iterator[Worker]:
    """`freshet ARGUMENTS --metrics-port …`; what still runs at the end of the block is killed."""
    port, output = free_port(), folder / f"{arguments[0]}.out"
    command = [sys.executable, "-m", "freshet", *map(str, arguments), "--metrics-port", str(port), "--json"]
    with output.open("wb") as file, (folder / f"{arguments[0]}.err").open("wb") as errors:
        process = subprocess.Popen(command, cwd=ROOT, env=environment("worker"), stdout=file, stderr=errors)
    started = Worker(process, f"http://127.0.0.1:{port}", output)
    try:
        wait_until(lambda: _answers(started), f"{arguments[0]} did not open its page", _START_SECONDS)
        yield started
    finally:
        process.kill()
        process.wait()


def _answers(started: Worker) -> bool:
    assert started.process.poll() is None, started.output.with_suffix(".err").read_text()
    try:
        return started.degraded() is not None
    except OSError:
        return False

"""A Triton that is kept going: what ended is started or loaded again, ever more slowly where it goes on ending."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from serving.scorer.config import ScorerConfig
from serving.triton.config import TritonConfig
from serving.triton.model_processes import model_processes
from serving.triton.server import TritonServer
from serving.triton.start import start_models
from serving.triton.supervisor import Pauses, Supervisor, SupervisorConfig
from streams.log.event_log import open_log
from tests.support.published import MODEL
from tests.support.triton import SLOWLY, BlockingClient, need_triton
from tests.support.valkey import valkey_server, wait_until

WAIT_SECONDS = 180


@dataclass
class Supervised:
    """The servers that the supervisor started, newest last."""

    folder: Path
    scorer: ScorerConfig
    servers: list[TritonServer] = field(default_factory=list)

    def start(self, config: TritonConfig) -> TritonServer:
        """Another server."""
        self.servers.append(start_models(self.folder, self.scorer, config, environment={}))
        return self.servers[-1]

    def process(self) -> int:
        """The process that computes the model; 0 where there is none."""
        return model_processes(self.servers[-1].pid).get("ranker", 0)

    def wait_for_another(self, process: int) -> None:
        """Waits until another process answers at the first server's address."""
        wait_until(lambda: self.process() not in (0, process), "the process was not replaced", WAIT_SECONDS)
        wait_until(self._answers, "the model did not answer", WAIT_SECONDS)

    def _answers(self) -> bool:
        with suppress(OSError, AssertionError):
            client = BlockingClient(self.servers[0].http_address)
            try:
                return client.info().version == 0
            finally:
                client.close()
        return False


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    need_triton()
    with valkey_server() as redis:
        log = open_log(f"embedded:{tmp_path / 'log'}")
        running = Supervised(tmp_path / "run", ScorerConfig(model=MODEL, log=log.address, redis=redis.address))
        stop = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(lambda: Supervisor(running.start, SLOWLY).run(stop))
            try:
                wait_until(lambda: done.done() or bool(running.servers), "no server started", WAIT_SECONDS)
                yield running
            finally:
                stop.set()
            done.result()
        assert not running.servers[-1].running
        log.close()


@pytest.mark.triton
@pytest.mark.slow
def test_ended_and_stopped_model_is_loaded_again_by_the_server_and_ended_server_by_another(
    supervised: Supervised,
) -> None:
    for how in (signal.SIGKILL, signal.SIGSTOP):
        process = supervised.process()
        os.kill(process, how)
        supervised.wait_for_another(process)
    assert len(supervised.servers) == 1
    process = supervised.process()
    os.kill(supervised.servers[0].pid, signal.SIGKILL)
    supervised.wait_for_another(process)
    assert len(supervised.servers) == 2


@pytest.mark.triton
@pytest.mark.slow
def test_model_that_cannot_be_loaded_again_is_served_by_another_server(supervised: Supervised) -> None:
    process = supervised.process()
    (supervised.folder / "models" / "ranker" / "1" / "model.py").write_text("raise ValueError('no such luck')\n")
    os.kill(process, signal.SIGKILL)
    wait_until(lambda: len(supervised.servers) == 2, "no other server started", WAIT_SECONDS)
    supervised.wait_for_another(process)
    assert "no such luck" in (supervised.folder / "triton.before.log").read_text()


def test_pause_is_none_at_first_grows_to_its_bound_and_is_none_again_after_a_steady_time() -> None:
    now = [0.0]
    pauses = Pauses(SupervisorConfig(first_pause_seconds=1, longest_pause_seconds=4, steady_seconds=60), lambda: now[0])
    found = []
    for passed in (0, 1, 1, 1, 5, 65):
        now[0] += passed
        found.append(pauses.next())
    assert found == [0, 1, 2, 4, 4, 0]

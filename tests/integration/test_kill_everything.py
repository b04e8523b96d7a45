"""Joiner and trainer, run by their commands, are killed at random moments: the model is as if they never were."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from streams.checkpoints.files import read_files
from streams.contract.encoding import encode_event
from streams.contract.events import FINAL_TIME_MS, Tick
from streams.datasets.options import DatasetOptions
from streams.datasets.registry import schema_path
from streams.log.event_log import EVENTS, EXAMPLES, Append, EventLog, open_log
from streams.replay import LogSink, open_recording
from tests.support.fork_server import ForkServer
from tests.support.kafka_server import KafkaServer, new_server
from tests.support.killed_trainer import digest

pytestmark = pytest.mark.slow

DATA = "simulator:small"
IMPRESSIONS = 4000
PARTITIONS = 2
KILLS_EACH = 10
RECORDS_A_STEP = 60
CHECKPOINT_STEPS = 3
PATIENCE_SECONDS = 120.0


@dataclass
class Service:
    """One command that is started again whenever it is killed."""

    server: ForkServer
    lock: threading.Lock
    arguments: list[str]
    output: Path
    most_ahead: int
    """How far beyond where it began a life may get before its kill, in the units of `progress`."""
    kills: list[int] = field(default_factory=list)
    """What `progress` said at each kill."""

    def start(self) -> int:
        with self.lock:
            return self.server.start(self.arguments, self.output)

    def end(self, pid: int, how: signal.Signals) -> int:
        os.kill(pid, how)
        with self.lock:
            return self.server.wait(pid)

    def live_and_be_killed(self, progress: Callable[[], int], rng: random.Random) -> None:
        """Ten lives: some end while it starts, most a moment after it got on."""
        for number in range(KILLS_EACH):
            before, pid = progress(), self.start()
            goal = before + (rng.randrange(self.most_ahead) if number % 3 else self.most_ahead)
            got_on = waited(progress, goal, PATIENCE_SECONDS if number % 3 else rng.random() * 0.5)
            assert got_on or number % 3 == 0, f"no progress: {self.output}"
            time.sleep(rng.random() * 0.03 if number % 3 else 0)
            status = self.end(pid, signal.SIGKILL)
            assert status == -signal.SIGKILL, self.output.read_text()[-2000:]
            self.kills.append(progress())


def waited(progress: Callable[[], int], goal: int, seconds: float) -> bool:
    """Waits until progress is beyond the goal, for so long at most; looks often: a life must end before the stream."""
    deadline = time.monotonic() + seconds
    while progress() <= goal:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def killed_log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a log of its own, of each kind: the commands' topics have fixed names."""
    if request.param == "embedded":
        yield f"embedded:{tmp_path / 'killed-log'}"
        return
    (tmp_path / "kafka").mkdir()
    server: KafkaServer = new_server(tmp_path / "kafka")
    try:
        server.start()
        yield server.address
    finally:
        server.stop()


def test_joiner_and_trainer_killed_twenty_times_end_bit_identical_to_uninterrupted(
    killed_log: str, tmp_path: Path
) -> None:
    whole_log = f"embedded:{tmp_path / 'whole-log'}"
    fill([whole_log, killed_log])
    with ForkServer() as server:
        run(server, whole_log, tmp_path / "whole", killed=False)
        lives = run(server, killed_log, tmp_path / "killed", killed=True)
    whole, killed = (newest(tmp_path / name / "checkpoints") for name in ("whole", "killed"))
    assert [len(kills) for kills in lives] == [KILLS_EACH, KILLS_EACH]
    assert all(len(set(kills)) > KILLS_EACH // 2 for kills in lives), f"killed in too few places: {lives}"
    assert whole["examples"] > IMPRESSIONS
    assert killed == whole


def fill(addresses: list[str]) -> None:
    """The same records into each log: the simulator's events, then a final tick in every partition."""
    events = [*open_recording(DATA, DatasetOptions(max_impressions=IMPRESSIONS)).events]
    for address in addresses:
        log = open_log(address)
        try:
            log.create_topic(EVENTS, PARTITIONS)
            log.create_topic(EXAMPLES, PARTITIONS)
            sink = LogSink(log)
            for start in range(0, len(events), 500):
                sink(events[start : start + 500])
            ends = [Tick(event_id=f"end-{n}", event_time_ms=FINAL_TIME_MS, final=True) for n in range(PARTITIONS)]
            log.append([Append(p, encode_event(end)) for p, end in zip(log.partitions(EVENTS), ends, strict=True)])
        finally:
            log.close()


def run(server: ForkServer, address: str, folder: Path, *, killed: bool) -> list[list[int]]:
    """Joins and trains to the end of the stream, with or without kills on the way; progress at each kill."""
    folder.mkdir()
    schema = schema_path(DATA)
    assert schema is not None
    lock = threading.Lock()
    joiner = Service(server, lock, [
        "join", "--log", address, "--state", str(folder / "join"), "--max-records", str(RECORDS_A_STEP),
    ], folder / "joiner.out", most_ahead=2)  # fmt: skip
    trainer = Service(server, lock, [
        "train", "--log", address, "--redis", "", "--schema", str(schema), "--checkpoints", str(folder / "checkpoints"),
        "--checkpoint-steps", str(CHECKPOINT_STEPS), "--checkpoint-seconds", "0", "--resume", "--until-final",
    ], folder / "trainer.out", most_ahead=2 * CHECKPOINT_STEPS)  # fmt: skip
    log = open_log(address)
    try:
        if killed:
            kill_both(log, joiner, trainer, folder)
        finish(joiner, trainer)
    finally:
        log.close()
    return [joiner.kills, trainer.kills]


def kill_both(log: EventLog, joiner: Service, trainer: Service, folder: Path) -> None:
    """Each in a thread of its own; the joiner goes on to the end once it has been killed often enough."""
    examples = log.partitions(EXAMPLES)
    failures: list[BaseException] = []

    def guard(service: Service, progress: Callable[[], int], seed: int) -> None:
        try:
            service.live_and_be_killed(progress, random.Random(seed))
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=guard, args=(joiner, lambda: sum(log.end_offsets(examples).values()), 1)),
        threading.Thread(target=guard, args=(trainer, lambda: newest_step(folder / "checkpoints"), 2)),
    ]
    for thread in threads:
        thread.start()
    threads[0].join()
    pid = joiner.start()
    threads[1].join()
    joiner.end(pid, signal.SIGTERM)
    assert not failures, failures


def finish(joiner: Service, trainer: Service) -> None:
    """Both run on undisturbed until the trainer has seen the stream's end."""
    pids = [service.start() for service in (joiner, trainer)]
    with trainer.lock:
        status = trainer.server.wait(pids[1])
    assert status == 0, trainer.output.read_text()[-2000:]
    assert joiner.end(pids[0], signal.SIGTERM) == 0, joiner.output.read_text()[-2000:]


def newest_step(checkpoints: Path) -> int:
    """The step of the newest checkpoint, 0 before the first."""
    names = [path.name for path in checkpoints.glob("step-*")]
    return int(max(names, default="step-0").removeprefix("step-"))


def newest(checkpoints: Path) -> dict[str, Any]:
    """All that the newest checkpoint holds but its place in the log: records are cut elsewhere after a kill."""
    content = read_files(max(checkpoints.glob("step-*")))
    state = {name: value for name, value in content.state.items() if name != "cursor"}
    sums = {name: value for name, value in digest(content).items() if name != "state"}
    return {"step": content.step, "examples": content.state["counters"]["examples"], "state": state, "digest": sums}

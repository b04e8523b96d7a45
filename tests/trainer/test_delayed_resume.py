"""A trainer with heads over a log with corrections: stopped and resumed, it ends as if it had never stopped."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from streams.checkpoints.files import read_files
from streams.checkpoints.store import CheckpointConfig, CheckpointStore
from streams.contract.examples import Mark
from streams.log.event_log import EventLog, open_log
from streams.turns.source import SourceConfig
from tests.support.killed_cases import corrected
from tests.support.killed_trainer import digest
from tests.support.toy_examples import append_all, toy_batch, toy_recipe, toy_schema
from trainer.delayed.config import DelayedConfig, MethodName
from trainer.learner import Learner
from trainer.learner_state import learner_tensors, learner_values, load_learner
from trainer.loop import Trainer, TrainerConfig, TrainProgress


@pytest.fixture
def stream(tmp_path: Path) -> EventLog:
    log = open_log(f"embedded:{tmp_path / 'log'}")
    log.create_topic("examples", 2)
    for partition in log.partitions("examples"):
        for number in range(4):
            batch = toy_batch(60, start=100 * number, seed=partition.partition)
            append_all(log, partition, [batch, corrected(batch, number)])
        append_all(log, partition, [Mark(final=True)])
    return log


def train(log: EventLog, folder: Path, method: MethodName, *, stop_at: int | None = None) -> TrainProgress:
    stop, store = threading.Event(), CheckpointStore(folder)
    config = TrainerConfig(
        source=SourceConfig(poll_seconds=0.05), checkpoint=CheckpointConfig(every_seconds=0), progress_seconds=0
    )

    def halt(progress: TrainProgress) -> None:
        if stop_at is not None and progress.step >= stop_at:
            stop.set()

    learner = Learner(toy_schema(), toy_recipe(delayed=DelayedConfig(method=method)))
    trainer = Trainer(log, learner, store, config, stop=stop, on_progress=halt)
    try:
        trainer.resume()
        return trainer.run()
    finally:
        store.close()


def newest(folder: Path) -> dict[str, str]:
    return digest(read_files(sorted(folder.glob("step-*"))[-1]))


@pytest.mark.parametrize("method", ["defer", "bi-defuse"])
def test_stopped_and_resumed_ends_bit_identical(stream: EventLog, tmp_path: Path, method: MethodName) -> None:
    whole, parts = tmp_path / "a", tmp_path / "b"
    progress = train(stream, whole, method)
    assert progress.num_corrections > 100
    stopped = train(stream, parts, method, stop_at=9)
    assert 9 <= stopped.step < progress.step
    train(stream, parts, method)
    assert newest(parts) == newest(whole)
    assert {"delayed", "click_delays"} <= set(newest(whole))


def test_progress_tells_the_click_delay(stream: EventLog, tmp_path: Path) -> None:
    delay = train(stream, tmp_path / "a", "plain").click_delay
    assert delay["suggested_window_seconds"] > 0


def test_checkpoint_without_an_estimate_of_the_delay_is_taken_and_begins_one() -> None:
    learner = Learner(toy_schema(), toy_recipe())
    tensors, values = learner_tensors(learner), learner_values(learner)
    del tensors["click_delays"]
    load_learner(Learner(toy_schema(), toy_recipe()), tensors, values)

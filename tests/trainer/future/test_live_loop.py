"""A window of rounds or a teacher inside the trainer's loop: stopped and resumed, it ends as if it never stopped."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from streams.checkpoints.files import read_files
from streams.checkpoints.store import CheckpointConfig, CheckpointStore
from streams.contract.examples import Mark
from streams.log.event_log import EventLog, open_log
from streams.turns.source import SourceConfig
from tests.support.killed_trainer import digest
from tests.support.toy_examples import append_all, toy_batch, toy_recipe, toy_schema
from trainer.future.config import UpdateConfig
from trainer.future.live import continual_learner
from trainer.loop import Trainer, TrainerConfig, TrainProgress
from trainer.recipes import RecipeConfig
from trainer.strategies.config import TeacherConfig

TOPIC = "examples"
WINDOW = UpdateConfig(mode="live", round_seconds=50, gram_every=2)
RECIPES = {
    **{weighing: toy_recipe(update=replace(WINDOW, weighing=weighing)) for weighing in ("uniform", "attention", "eg")},
    "reloop": toy_recipe(teacher=TeacherConfig(loss="worse", share=0.2, round_seconds=50)),
    "incctr": toy_recipe(teacher=TeacherConfig(loss="distil", share=0.2, round_seconds=50)),
}


def run(log: EventLog, folder: Path, recipe: RecipeConfig, *, stop_after: int | None = None) -> TrainProgress:
    """One trainer over the log into the folder, resumed where there is a checkpoint."""
    learner = continual_learner(toy_schema(), recipe, folder / "rounds")
    store, stop = CheckpointStore(folder), threading.Event()

    def on_progress(progress: TrainProgress) -> None:
        if stop_after is not None and progress.step >= stop_after:
            stop.set()

    config = TrainerConfig(source=SourceConfig(poll_seconds=0.05),
                           checkpoint=CheckpointConfig(every_seconds=0), progress_seconds=0)  # fmt: skip
    trainer = Trainer(log, learner, store, config, stop=stop, on_progress=on_progress)
    try:
        trainer.resume()
        return trainer.run()
    finally:
        store.close()


@pytest.mark.parametrize("name", RECIPES)
def test_trainer_with_memory_of_rounds_stopped_and_resumed_ends_bit_identical(name: str, tmp_path: Path) -> None:
    log = open_log(f"embedded:{tmp_path / 'log'}")
    log.create_topic(TOPIC, 2)
    for partition in log.partitions(TOPIC):
        batches = [toy_batch(60, start=60 * n, seed=partition.partition) for n in range(5)]
        append_all(log, partition, [*batches, Mark(final=True)])
    whole = run(log, tmp_path / "whole", RECIPES[name])
    first = run(log, tmp_path / "parts", RECIPES[name], stop_after=21)
    assert 21 <= first.step < whole.step
    assert run(log, tmp_path / "parts", RECIPES[name]).examples == whole.examples == 2 * 5 * 60 * 4
    newest = [sorted((tmp_path / name).glob("step-*"))[-1] for name in ("whole", "parts")]
    content = read_files(newest[0])
    assert "window" in content.tensors
    assert digest(content) == digest(read_files(newest[1]))

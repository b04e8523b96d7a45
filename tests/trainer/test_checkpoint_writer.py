"""Checkpoints are written while training goes on: one at a time, of one step, and counted once the disk has them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from streams.checkpoints.files import read_files
from streams.checkpoints.store import CheckpointConfig, CheckpointStore
from streams.checkpoints.writer import CheckpointWriter
from streams.contract.examples import Mark
from streams.log.event_log import EventLog, open_log
from streams.turns.cursor import cursor_at
from streams.turns.source import SourceConfig
from tests.support.disks import RefusingDisk, SlowDisk
from tests.support.killed_trainer import digest
from tests.support.toy_examples import append_all, toy_batch, toy_recipe, toy_schema
from trainer.learner import Learner
from trainer.loop import GROUP, Trainer, TrainerConfig, TrainProgress

TOPIC = "examples"
CURSOR = cursor_at([0, 0])


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    log = open_log(f"embedded:{tmp_path / 'log'}")
    log.create_topic(TOPIC, 2)
    for partition in log.partitions(TOPIC):
        batches = [toy_batch(60, start=100 * n, seed=partition.partition) for n in range(4)]
        append_all(log, partition, [*batches, Mark(final=True)])
    yield log
    log.close()


def trainer(log: EventLog, store: CheckpointStore, every_steps: int = 5, **options: object) -> Trainer:
    config = TrainerConfig(
        source=SourceConfig(poll_seconds=0.05),
        checkpoint=CheckpointConfig(every_steps=every_steps, every_seconds=0),
        progress_seconds=0,
    )
    return Trainer(log, Learner(toy_schema(), toy_recipe()), store, config, **options)  # type: ignore[arg-type]


def test_learning_goes_on_while_a_checkpoint_is_written_and_none_counts_before_the_disk_has_it(
    log: EventLog, tmp_path: Path
) -> None:
    store, seen = SlowDisk(tmp_path / "a"), []
    partitions = log.partitions(TOPIC)

    def look(progress: TrainProgress) -> None:
        if progress.step == 20:
            seen.append((progress.checkpoint, store.names(), log.committed_offsets(GROUP, partitions)))
            store.let.set()

    progress = trainer(log, store, on_progress=look).run()
    assert seen == [("", [], {})]
    assert store.most_at_once == 1
    assert store.names()[0] == "step-000000000005"
    assert (progress.checkpoint, progress.step) == ("step-000000000030", 30)
    assert log.committed_offsets(GROUP, partitions) == dict.fromkeys(partitions, 5)
    store.close()


def test_checkpoint_holds_the_step_at_which_it_was_begun_and_nothing_learnt_meanwhile(
    log: EventLog, tmp_path: Path
) -> None:
    slow, stopped, stop = SlowDisk(tmp_path / "a"), CheckpointStore(tmp_path / "b"), threading.Event()
    trainer(log, slow, on_progress=lambda progress: slow.let.set() if progress.step == 20 else None).run()
    trainer(log, stopped, 0, stop=stop, on_progress=lambda p: stop.set() if p.step == 5 else None).run()
    name = "step-000000000005"
    assert digest(read_files(slow.folder / name)) == digest(read_files(stopped.folder / name))
    slow.close()
    stopped.close()


def test_refused_checkpoint_is_told_and_tried_again(
    log: EventLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = RefusingDisk(tmp_path / "a")
    # One: a disk that is slow to refuse may do so only when all has been learnt, and the last try is not repeated.
    store.refusals = 1
    progress = trainer(log, store).run()
    assert [record.message for record in caplog.records if "No space left" in record.message] != []
    assert store.refusals == 0
    assert (progress.step, progress.checkpoint) == (30, "step-000000000030")
    store.close()


def test_last_checkpoint_that_is_refused_leaves_the_one_before_and_does_not_count(
    log: EventLog, tmp_path: Path
) -> None:
    store = RefusingDisk(tmp_path / "a")
    store.refusals = 1
    progress = trainer(log, store, every_steps=0).run()
    assert (progress.checkpoint, store.names()) == ("", [])
    assert log.committed_offsets(GROUP, log.partitions(TOPIC)) == {}
    store.close()


def test_what_is_written_is_a_copy(tmp_path: Path) -> None:
    store = SlowDisk(tmp_path)
    writer, array = CheckpointWriter(store), np.zeros(3)
    writer.begin(1, {"part": {"array": array}}, {"a": 1}, CURSOR)
    array[:] = 7
    assert writer.settle() is None
    store.let.set()
    saved = writer.settle(wait=True)
    assert saved is not None
    assert (saved.name, saved.step, saved.cursor, writer.is_busy) == ("step-000000000001", 1, CURSOR, False)
    assert read_files(tmp_path / saved.name).tensors["part"]["array"].tolist() == [0, 0, 0]
    writer.close()
    store.close()


def test_closing_waits_for_what_is_in_flight(tmp_path: Path) -> None:
    store = SlowDisk(tmp_path)
    writer = CheckpointWriter(store)
    writer.begin(1, {"part": {"array": np.zeros(3)}}, {}, CURSOR)
    threading.Timer(0.2, store.let.set).start()
    writer.close()
    assert store.names() == ["step-000000000001"]
    store.close()

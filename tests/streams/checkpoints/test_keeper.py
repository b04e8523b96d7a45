"""When a checkpoint is due, when it counts, and what a disk that refuses one leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from streams.checkpoints.files import read_files
from streams.checkpoints.keeper import CheckpointKeeper, Present
from streams.checkpoints.store import CheckpointConfig, CheckpointStore
from streams.contract.errors import UnavailableError
from streams.log.event_log import EventLog, TopicPartition, open_log
from streams.turns.cursor import Cursor, cursor_at
from tests.support.disks import RefusingDisk, SlowDisk
from tests.support.valkey import wait_until

TOPIC, GROUP = "examples", "learner"


@dataclass
class Learner:
    """Something that learns: each turn is a step and a place further on in the log."""

    step: int = 0
    weights: list[float] = field(default_factory=lambda: [0.0])
    cursor: Cursor = field(default_factory=lambda: cursor_at([0]))

    def turn(self) -> None:
        self.step += 1
        self.weights[0] += 1
        self.cursor = cursor_at([self.step])

    def present(self) -> Present:
        return Present(self.step, {"part": {"weights": np.array(self.weights)}}, {"step": self.step}, self.cursor)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    log = open_log(f"embedded:{tmp_path / 'log'}")
    log.create_topic(TOPIC, 1)
    yield log
    log.close()


Begun = Callable[..., tuple[CheckpointKeeper, Learner]]


@pytest.fixture
def begun(log: EventLog) -> Iterator[Begun]:
    """Begins to keep a new learner's checkpoints in the store."""
    opened: list[tuple[CheckpointKeeper, CheckpointStore]] = []

    def begin(store: CheckpointStore, *, saved_step: int = 0, **when: float) -> tuple[CheckpointKeeper, Learner]:
        learner = Learner(step=saved_step)
        config = CheckpointConfig(**({"every_seconds": 0} | when))  # type: ignore[arg-type]
        keeper = CheckpointKeeper(log, store, config, topic=TOPIC, group=GROUP, present=learner.present)
        keeper.begin(learner.cursor, saved_step=saved_step)
        opened.append((keeper, store))
        return keeper, learner

    yield begin
    for keeper, store in opened:
        keeper.close()
        store.close()


def turns(keeper: CheckpointKeeper, learner: Learner, count: int) -> None:
    for _ in range(count):
        learner.turn()
        keeper.keep_up(learner.step, learner.cursor)


def settled(keeper: CheckpointKeeper, learner: Learner, name: str) -> None:
    def is_there() -> bool:
        keeper.keep_up(learner.step, learner.cursor)
        return keeper.name == name

    wait_until(is_there, f"{name} was not made", 30)


def committed(log: EventLog) -> dict[TopicPartition, int]:
    return log.committed_offsets(GROUP, log.partitions(TOPIC))


def test_so_many_steps_make_one_and_the_log_is_told_how_far(log: EventLog, tmp_path: Path, begun: Begun) -> None:
    keeper, learner = begun(CheckpointStore(tmp_path / "a"), every_steps=3)
    turns(keeper, learner, 2)
    assert (keeper.name, committed(log)) == ("", {})
    turns(keeper, learner, 1)
    settled(keeper, learner, "step-000000000003")
    assert list(committed(log).values()) == [3]
    assert keeper.seconds > 0


def test_steps_are_counted_from_the_checkpoint_that_was_resumed(tmp_path: Path, begun: Begun) -> None:
    keeper, learner = begun(CheckpointStore(tmp_path / "a"), every_steps=3, saved_step=10)
    turns(keeper, learner, 3)
    settled(keeper, learner, "step-000000000013")


def test_seconds_make_one_where_there_is_something_new(tmp_path: Path, begun: Begun) -> None:
    store = CheckpointStore(tmp_path / "a")
    keeper, learner = begun(store, every_seconds=0.001)
    keeper.keep_up(learner.step, learner.cursor)
    keeper.keep_up(learner.step, learner.cursor)
    assert store.names() == []
    turns(keeper, learner, 1)
    settled(keeper, learner, "step-000000000001")


def test_one_in_flight_holds_what_was_learnt_when_it_began_and_the_next_waits_for_it(
    tmp_path: Path, begun: Begun
) -> None:
    store = SlowDisk(tmp_path / "a")
    keeper, learner = begun(store, every_steps=1)
    turns(keeper, learner, 5)
    assert (keeper.name, store.names()) == ("", [])
    store.let.set()
    settled(keeper, learner, "step-000000000005")
    assert store.most_at_once == 1
    assert store.names() == ["step-000000000001", "step-000000000005"]
    assert read_files(store.folder / "step-000000000001").tensors["part"]["weights"].tolist() == [1]


def test_refused_one_does_not_count_and_is_tried_again(
    log: EventLog, tmp_path: Path, begun: Begun, caplog: pytest.LogCaptureFixture
) -> None:
    store = RefusingDisk(tmp_path / "a")
    keeper, learner = begun(store, every_steps=1)
    turns(keeper, learner, 1)
    settled(keeper, learner, "step-000000000001")
    assert store.refusals == 0
    assert [record.message for record in caplog.records if "No space left" in record.message] != []
    assert list(committed(log).values()) == [1]


def test_refused_one_is_not_tried_again_before_the_disk_said(tmp_path: Path, begun: Begun) -> None:
    store = RefusingDisk(tmp_path / "a")
    store.refusals, store.retry_after_seconds = 1, 3600.0
    keeper, learner = begun(store, every_steps=1)
    turns(keeper, learner, 1)
    wait_until(lambda: store.refusals == 0, "no checkpoint was tried", 30)
    keeper.finish(cursor_at([0]))
    turns(keeper, learner, 3)
    keeper.close()  # waits for what would be in flight
    assert store.names() == ["step-000000000001"], "the last one, which the end of a run tries at once"


def test_log_that_does_not_take_how_far_it_goes_loses_no_checkpoint(
    log: EventLog, tmp_path: Path, begun: Begun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(group: str, offsets: object) -> None:
        raise UnavailableError("is away", field="log", retry_after_seconds=1.0)

    monkeypatch.setattr(log, "commit_offsets", refuse)
    keeper, learner = begun(CheckpointStore(tmp_path / "a"), every_steps=1)
    turns(keeper, learner, 1)
    settled(keeper, learner, "step-000000000001")
    assert "does not know of the newest checkpoint" in caplog.text


def test_the_end_waits_for_the_disk_and_makes_one_even_of_nothing(tmp_path: Path, begun: Begun) -> None:
    idle, learner = begun(CheckpointStore(tmp_path / "idle"))
    idle.finish(learner.cursor)
    assert idle.name == "step-000000000000"
    busy, learner = begun(CheckpointStore(tmp_path / "busy"), every_steps=2)
    turns(busy, learner, 3)
    busy.finish(learner.cursor)
    assert busy.name == "step-000000000003"
    busy.finish(learner.cursor)
    assert busy.name == "step-000000000003", "nothing new, so none is made"

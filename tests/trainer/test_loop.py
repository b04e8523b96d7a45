"""The trainer over a real log: learns all, once, in order; checkpoints, resumes, publishes, sets bad input aside."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streams.checkpoints.files import read_files
from streams.checkpoints.store import CheckpointConfig, CheckpointStore
from streams.contract.errors import FreshetError, InputError
from streams.contract.examples import ExampleBatch, Mark
from streams.contract.schema import parse_schema
from streams.join.dead_letters import decode_dead_letter
from streams.log.event_log import DEAD_LETTERS, EventLog, TopicPartition, open_log
from streams.stopping import stopped_by_signals
from streams.turns.source import SourceConfig
from streams.versions.delta import Delta
from tests.support.killed_trainer import digest
from tests.support.toy_examples import SCHEMA, append_all, toy_batch, toy_recipe, toy_schema
from trainer.admission import AdmissionConfig
from trainer.learner import Learner
from trainer.loop import GROUP, Trainer, TrainerConfig, TrainProgress
from trainer.model.dlrm import DlrmConfig
from trainer.prepare import Preparer
from trainer.vocabulary import VocabularyConfig

FINAL = Mark(final=True)
TOPIC = "examples"


@pytest.fixture
def embedded(tmp_path: Path) -> EventLog:
    log = open_log(f"embedded:{tmp_path / 'log'}")
    log.create_topic(TOPIC, 2)
    return log


def fill(log: EventLog, *, requests: int = 60, final: bool = True) -> None:
    for partition in log.partitions(TOPIC):
        batches = [toy_batch(requests, start=100 * n, seed=partition.partition) for n in range(4)]
        append_all(log, partition, [*batches, *[FINAL] * final])


@dataclass
class Run:
    """One trainer over `log` into `folder`, closed when done."""

    log: EventLog
    folder: Path
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, *, resume: bool = False, **changes: Any) -> TrainProgress:
        store = CheckpointStore(self.folder)
        config = TrainerConfig(
            source=SourceConfig(poll_seconds=0.05, until_end=changes.pop("until_end", False)),
            checkpoint=CheckpointConfig(every_steps=changes.pop("every_steps", 0), every_seconds=0),
            progress_seconds=0,
        )
        self.learner = Learner(changes.pop("schema", toy_schema()), changes.pop("recipe", toy_recipe()))
        trainer = Trainer(self.log, self.learner, store, config, **changes)
        try:
            if resume:
                trainer.resume()
            return trainer.run()
        finally:
            store.close()

    def digest(self) -> dict[str, str]:
        newest = sorted(self.folder.glob("step-*"))[-1]
        return digest(read_files(newest))


def test_trainer_learns_every_example_once_and_beats_the_base_rate(embedded: EventLog, tmp_path: Path) -> None:
    fill(embedded, requests=400)
    progress = Run(embedded, tmp_path / "a")()
    assert progress.examples == progress.lifetime.examples == 2 * 4 * 400 * 4
    assert progress.lifetime.normalized_entropy < 0.95
    assert progress.lifetime.auc > 0.6
    assert progress.lifetime.log_loss > progress.lifetime.bayes_log_loss
    assert progress.offsets == {"examples[0]": [5, 0], "examples[1]": [5, 0]}
    partitions = embedded.partitions(TOPIC)
    assert embedded.committed_offsets(GROUP, partitions) == dict.fromkeys(partitions, 5)


def test_trainer_stopped_and_resumed_ends_bit_identical(embedded: EventLog, tmp_path: Path) -> None:
    fill(embedded)
    whole, parts = Run(embedded, tmp_path / "a"), Run(embedded, tmp_path / "b")
    whole()
    stop = threading.Event()
    first = parts(stop=stop, on_progress=lambda progress: stop.set() if progress.step >= 9 else None)
    assert 9 <= first.step < 30
    parts(resume=True)
    assert parts.digest() == whole.digest()


def test_trainer_from_a_checkpoint_before_a_damaged_one_ends_bit_identical(embedded: EventLog, tmp_path: Path) -> None:
    fill(embedded)
    run = Run(embedded, tmp_path / "a")
    run(every_steps=5)
    expected = run.digest()
    names = sorted(path.name for path in run.folder.glob("step-*"))
    (run.folder / names[-1] / "tables.safetensors").write_bytes(b"")
    progress = run(resume=True)
    assert [refused.name for refused in progress.refused_checkpoints] == [names[-1]]
    assert run.digest() == expected


def test_sigterm_ends_with_a_checkpoint_of_all_that_was_learnt(embedded: EventLog, tmp_path: Path) -> None:
    fill(embedded, final=False)
    stop, run = threading.Event(), Run(embedded, tmp_path / "a")

    def terminate(progress: TrainProgress) -> None:
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with stopped_by_signals(stop):
        progress = run(stop=stop, on_progress=terminate)
    assert progress.step == 3
    assert sorted(path.name for path in run.folder.glob("step-*")) == ["step-000000000003"]


def test_bad_requests_go_to_dead_letters_and_the_rest_is_learnt(embedded: EventLog, tmp_path: Path) -> None:
    bad = toy_batch(8)
    bad = replace(bad, request={**bad.request, "age": [0.5, "old", 0.5, 0.5, None, float("nan"), 0.5, 0.5]})
    first, second = embedded.partitions(TOPIC)
    append_all(embedded, first, [toy_batch(4, start=50), bad, b"damaged", FINAL])
    append_all(embedded, second, [FINAL])
    progress = Run(embedded, tmp_path / "a")()
    assert progress.examples == 4 * (4 + 6)
    assert progress.num_dead_letters == 3
    records = embedded.read({TopicPartition(DEAD_LETTERS, 0): 0})
    letters = [decode_dead_letter(record.value) for record in records]
    assert {(letter.reason, letter.key) for letter in letters} == {
        ("bad-features", b"i0-1"), ("bad-features", b"i0-5"), ("undecodable", None),
    }  # fmt: skip
    assert any("age" in letter.detail and "old" in letter.detail for letter in letters)


def test_batch_of_bad_requests_alone_is_passed_over(embedded: EventLog, tmp_path: Path) -> None:
    first, second = embedded.partitions(TOPIC)
    batch = toy_batch(2)
    append_all(embedded, first, [replace(batch, request={**batch.request, "age": ["x", "y"]}), FINAL])
    append_all(embedded, second, [toy_batch(1, seed=1), FINAL])
    progress = Run(embedded, tmp_path / "a")()
    assert (progress.examples, progress.num_dead_letters) == (4, 2)


def test_correction_is_learnt_but_not_scored(embedded: EventLog, tmp_path: Path) -> None:
    corrected = toy_batch(5, correction=np.ones(20, dtype=np.bool_), label=np.ones(20, dtype=np.float32))
    first, second = embedded.partitions(TOPIC)
    append_all(embedded, first, [toy_batch(5, start=30), Mark(), corrected, FINAL])
    append_all(embedded, second, [FINAL])
    run, without = Run(embedded, tmp_path / "a"), Run(embedded, tmp_path / "b")
    progress = run()
    assert (progress.examples, progress.lifetime.examples, progress.num_corrections) == (40, 20, 20)
    without(recipe=toy_recipe(learn_corrections=False))
    assert run.digest()["network"] != without.digest()["network"]


def test_until_end_stops_without_a_final_mark_and_resumes_with_what_came_since(
    embedded: EventLog, tmp_path: Path
) -> None:
    fill(embedded, final=False)
    run = Run(embedded, tmp_path / "a")
    assert run(until_end=True).examples == 2 * 4 * 240
    append_all(embedded, embedded.partitions(TOPIC)[0], [toy_batch(3, start=9000)])
    assert run(until_end=True, resume=True).examples == 2 * 4 * 240 + 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": parse_schema(SCHEMA.replace('name = "price"', 'name = "cost"'))}, "another schema"),
        ({"recipe": toy_recipe(tables=replace(toy_recipe().tables, capacity=300))}, "tables.capacity"),
        ({"recipe": toy_recipe(network=DlrmConfig(bottom=(8,), top=(8,)))}, "network.top"),
    ],
)
def test_resuming_with_another_model_raises_input_error_naming_the_difference(
    embedded: EventLog, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    fill(embedded)
    run = Run(embedded, tmp_path / "a")
    run()
    with pytest.raises(InputError, match=message):
        run(resume=True, **changes)


def test_resuming_with_another_learning_rate_goes_on(embedded: EventLog, tmp_path: Path) -> None:
    fill(embedded)
    run = Run(embedded, tmp_path / "a")
    run()
    optimizer = replace(toy_recipe().optimizer, learning_rate=0.1)
    assert run(resume=True, recipe=toy_recipe(optimizer=optimizer)).examples == 2 * 4 * 240


def test_diverged_model_raises_and_leaves_no_newer_checkpoint(embedded: EventLog, tmp_path: Path) -> None:
    fill(embedded)
    run = Run(embedded, tmp_path / "a")
    tables = replace(toy_recipe().tables, optimizer="sgd", learning_rate=1e30)
    with pytest.raises(FreshetError, match="diverged"):
        run(recipe=toy_recipe(tables=tables))
    assert list(run.folder.glob("step-*")) == []


@dataclass
class Recorder:
    """A publisher that takes every n-th delta offered, and commits at once unless told to lose it."""

    takes: Callable[[int], bool] = lambda number: True
    loses: Callable[[int], bool] = lambda number: False
    wants_due: Callable[[], bool] = lambda: True
    committed: int = -1
    full: bool = False
    offered: list[Delta] = field(default_factory=list)
    taken: list[Delta] = field(default_factory=list)

    def due(self) -> bool:
        return self.wants_due()

    def wants_full(self) -> bool:
        return self.full

    def offer(self, delta: Delta) -> bool:
        number = len(self.offered)
        self.offered.append(delta)
        if not self.takes(number):
            return False
        if not self.loses(number):
            self.taken.append(delta)
            self.committed = delta.progress.step
        return True

    def last_step(self) -> int:
        return self.committed


def applied(deltas: Sequence[Delta]) -> dict[tuple[str, int], bytes]:
    """What a store holds that applies the deltas in order."""
    store: dict[tuple[str, int], bytes] = {}
    for delta in deltas:
        for table, rows in delta.rows.items():
            for key, value in zip(rows.ids.tolist(), rows.values, strict=True):
                store[table, key] = value.tobytes()
        for table, ids in delta.tombstones.items():
            for key in ids.tolist():
                store.pop((table, key), None)
    return store


def held(learner: Learner) -> dict[tuple[str, int], bytes]:
    keys = learner.vocabulary.items()
    rows = keys.slots - learner.vocabulary.offsets[keys.tables]
    return {
        (name, key): learner.tables.read_rows(name, np.array([row]))[0].tobytes()
        for name, key, row in zip((learner.tables.names[t] for t in keys.tables), keys.ids.tolist(), rows, strict=True)
    }


@pytest.mark.parametrize(
    ("takes", "loses"),
    [
        (lambda n: True, lambda n: False),
        (lambda n: n % 3 == 2, lambda n: False),
        (lambda n: True, lambda n: n % 4 == 1),
    ],
    ids=["all taken", "two of three refused", "some lost"],
)
def test_store_that_applies_every_committed_delta_holds_exactly_the_admitted_rows(
    embedded: EventLog, tmp_path: Path, takes: Callable[[int], bool], loses: Callable[[int], bool]
) -> None:
    fill(embedded)
    publisher, run = Recorder(takes=takes, loses=loses), Run(embedded, tmp_path / "a")
    run(publisher=publisher)
    last = Recorder()
    run(publisher=last, resume=True)
    assert len(publisher.taken) > 5
    assert any(delta.tombstones for delta in publisher.taken)
    deltas = [*publisher.taken, *last.taken]
    assert applied(deltas) == held(run.learner)


def test_delta_tells_progress_window_ads_and_metrics(embedded: EventLog, tmp_path: Path) -> None:
    fill(embedded)
    publisher, run = Recorder(), Run(embedded, tmp_path / "a")
    progress = run(publisher=publisher)
    first, last = publisher.taken[0], publisher.taken[-1]
    assert (first.progress.step, first.progress.examples) == (1, 64)
    assert first.progress.offsets == {"examples[0]": [0, 64], "examples[1]": [0, 0]}
    assert first.progress.ingest_quantiles_ms[0] == toy_batch(60).decided_ingest_ms[0]
    assert first.progress.ingest_quantiles_ms[-1] == toy_batch(60).decided_ingest_ms[63]
    assert len(first.progress.ingest_quantiles_ms) == 101
    assert first.ad_keys == ("ad",)
    assert first.ads.shape == (len(np.unique(toy_batch(60).candidate["ad"][:64])), 1)  # type: ignore[index]
    assert first.window.label.tolist() == toy_batch(60).label[:64].tolist()
    assert (first.window.served_version == 7).all()
    assert last.progress.newest_event_time_ms == progress.newest_event_time_ms
    assert last.metrics["lifetime_normalized_entropy"] == progress.lifetime.normalized_entropy
    assert last.dense["default_rows"].shape == (3, 8)
    assert set(last.dense) == {*run.learner.network.state_dict(), "default_rows"}


def test_delta_keeps_its_values_while_training_goes_on(embedded: EventLog, tmp_path: Path) -> None:
    fill(embedded)
    kept: list[tuple[Delta, bytes]] = []
    publisher = Recorder()

    def keep(progress: TrainProgress) -> None:
        if publisher.taken and not kept:
            delta = publisher.taken[0]
            kept.append((delta, b"".join(array.tobytes() for array in delta.dense.values())))

    Run(embedded, tmp_path / "a")(publisher=publisher, on_progress=keep)
    assert b"".join(array.tobytes() for array in kept[0][0].dense.values()) == kept[0][1]


def test_full_delta_holds_every_admitted_row(embedded: EventLog, tmp_path: Path) -> None:
    fill(embedded)
    run = Run(embedded, tmp_path / "a")
    run(publisher=Recorder())
    publisher = Recorder(full=True)
    run(publisher=publisher, resume=True)
    assert publisher.taken[0].full
    assert applied(publisher.taken) == held(run.learner)


def test_trainer_behind_what_was_published_offers_nothing_until_it_is_ahead(embedded: EventLog, tmp_path: Path) -> None:
    fill(embedded)
    publisher = Recorder(committed=12)
    Run(embedded, tmp_path / "a")(publisher=publisher)
    assert publisher.offered[0].progress.step == 13


def test_trainer_that_has_learnt_nothing_offers_nothing(embedded: EventLog, tmp_path: Path) -> None:
    for partition in embedded.partitions(TOPIC):
        append_all(embedded, partition, [FINAL])
    publisher = Recorder()
    Run(embedded, tmp_path / "a")(publisher=publisher)
    assert publisher.offered == []


def test_publisher_that_is_never_due_is_offered_nothing(embedded: EventLog, tmp_path: Path) -> None:
    fill(embedded)
    publisher = Recorder(wants_due=lambda: False)
    Run(embedded, tmp_path / "a")(publisher=publisher)
    assert publisher.offered == []


def test_publishing_does_not_change_what_is_learnt(embedded: EventLog, tmp_path: Path) -> None:
    fill(embedded)
    with_publisher, without = Run(embedded, tmp_path / "a"), Run(embedded, tmp_path / "b")
    with_publisher(publisher=Recorder())
    without()
    a, b = with_publisher.digest(), without.digest()
    assert {**a, "changes": ""} == {**b, "changes": ""}


def test_batch_that_is_cut_short_weighs_as_much_an_example() -> None:
    nothing_admitted = VocabularyConfig(admission=AdmissionConfig(admit_after=255))

    def gradient(batch: ExampleBatch) -> torch.Tensor:
        learner = Learner(toy_schema(), toy_recipe(vocabulary=nothing_admitted))
        learner.learn(Preparer(toy_schema())(batch))
        gradient = next(learner.network.parameters()).grad
        assert gradient is not None
        return gradient

    whole = toy_batch(16)
    total = gradient(whole.slice(0, 12)) + gradient(whole.slice(12, 64))
    assert torch.allclose(total, gradient(whole), rtol=1e-4, atol=1e-7)

"""Counters in the trainer: part of its checkpoint, bit-identical after a stop, and worth something where rates move."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streams.checkpoints.store import CheckpointConfig, CheckpointStore
from streams.contract.events import Feedback, Impression
from streams.contract.examples import Mark
from streams.datasets.observed import Observed
from streams.log.event_log import EventLog, open_log
from streams.turns.source import SourceConfig
from tests.support.counted import counted_schema
from tests.support.killed_trainer import digest
from tests.support.toy_examples import START_MS, append_all, toy_batch, toy_recipe
from trainer.delayed.simulation import DelayedLabels
from trainer.evaluate import evaluate
from trainer.learner import Learner
from trainer.loop import Trainer, TrainerConfig, TrainProgress

SCHEMA = counted_schema()


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    embedded = open_log(f"embedded:{tmp_path / 'log'}")
    embedded.create_topic("examples", 2)
    for partition in embedded.partitions("examples"):
        batches = [toy_batch(60, start=60 * n, seed=partition.partition) for n in range(5)]
        append_all(embedded, partition, [*batches, Mark(final=True)])
    return embedded


def train(log: EventLog, folder: Path, *, stop_after: int | None = None, resume: bool = False) -> Learner:
    stop, learner = threading.Event(), Learner(SCHEMA, toy_recipe())
    config = TrainerConfig(
        source=SourceConfig(), checkpoint=CheckpointConfig(every_seconds=0, every_steps=3), progress_seconds=0.0
    )

    def tell(progress: TrainProgress) -> None:
        if stop_after is not None and progress.step >= stop_after:
            stop.set()

    with closing(CheckpointStore(folder)) as checkpoints:
        trainer = Trainer(log, learner, checkpoints, config, on_progress=tell, stop=stop)
        if resume:
            trainer.resume()
        trainer.run()
    return learner


def digest_of(folder: Path) -> dict[str, str]:
    with closing(CheckpointStore(folder)) as checkpoints:
        content = checkpoints.load_newest().content
    assert content is not None
    return digest(content)


def test_trainer_that_was_stopped_ends_bit_identical_counters_included(log: EventLog, tmp_path: Path) -> None:
    through = train(log, tmp_path / "through")
    stopped = train(log, tmp_path / "stopped", stop_after=8)
    assert stopped.counters.step < through.counters.step
    train(log, tmp_path / "stopped", resume=True)
    assert "online_counters" in digest_of(tmp_path / "through")
    assert digest_of(tmp_path / "through") == digest_of(tmp_path / "stopped")


def test_counters_count_every_example_of_the_log(log: EventLog, tmp_path: Path) -> None:
    counting = train(log, tmp_path / "through").online
    assert counting is not None
    (shows, outcomes) = counting.counters.state.totals(np.array([0]))[0, -1]
    assert 0 < outcomes < shows <= 2400


def market(num_impressions: int) -> Iterator[Observed]:
    """Ads whose click rates are drawn anew every twenty minutes; nothing tells them but what is clicked."""
    rng = np.random.default_rng(0)
    rates = rng.beta(0.5, 2, 30)
    for number in range(num_impressions):
        if number % 300 == 0:
            rates = rng.beta(0.5, 2, 30)
        ads = rng.permutation(30)[:5]
        time_ms = START_MS + 4000 * number
        shown = Impression(
            event_id=f"i{number}", event_time_ms=time_ms, session_id=str(number), unit_id="u",
            ad_ids=[str(ad) for ad in ads], candidates={"ad": [int(ad) for ad in ads]}, ingest_ms=START_MS,
        )  # fmt: skip
        yield Observed(shown, [
            Feedback(event_id=f"f{number}-{ad}", event_time_ms=time_ms + 3000, session_id=str(number),
                     impression_id=shown.event_id, ad_id=str(ad))
            for ad in ads if rng.random() < rates[ad]
        ])  # fmt: skip


@pytest.mark.parametrize("labels", [None, DelayedLabels(window_seconds=60)])
def test_counters_lower_the_entropy_where_rates_move_faster_than_rows_learn(labels: DelayedLabels | None) -> None:
    with_counters = toy_recipe(name="with")
    without = replace(with_counters, name="without", use_counters=False)
    outcome = evaluate(lambda: market(2000), SCHEMA, [with_counters, without], seeds=(1,), labels=labels)
    (paired,) = outcome.paired
    assert paired.ci95[1] < -0.02

"""Learners whose trainers are killed, by name, and the logs that they learn from: each with state of its own kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from streams.contract.examples import ExampleBatch, Mark, concat_batches
from streams.log.event_log import EventLog, TopicPartition
from tests.support.counted import counted_schema
from tests.support.toy_examples import append_all, toy_batch, toy_recipe, toy_schema
from trainer.calibration import CalibrationConfig
from trainer.delayed.config import DelayedConfig
from trainer.future.config import GeneratorConfig, UpdateConfig
from trainer.future.live import continual_learner
from trainer.learner import Learner

ROUNDS = "rounds"
_LATE_MS = 90_000
_WINDOW = UpdateConfig(
    weighing="attention", mode="live", round_seconds=60, gram_every=3, max_round_examples=400,
    generator=GeneratorConfig(buckets=64, dim=4, hidden=8, steps=5),
)  # fmt: skip

LEARNERS: dict[str, Callable[[Path], Learner]] = {
    "plain": lambda folder: Learner(toy_schema(), toy_recipe()),
    "fgd-3-live": lambda folder: continual_learner(counted_schema(), toy_recipe(update=_WINDOW), folder / ROUNDS),
    "defer": lambda folder: Learner(counted_schema(), toy_recipe(delayed=DelayedConfig(method="defer"))),
    "calibrated": lambda folder: Learner(
        counted_schema(), toy_recipe(calibration=CalibrationConfig(segment="user", refresh_examples=200, prior=20.0))
    ),
}
"""By name: the learner whose trainer checkpoints into a folder."""


def fill_far_apart(log: EventLog, partitions: Sequence[TopicPartition], records: int) -> int:
    """Records of uneven length, with marks and damaged records between them; how many examples."""
    num_examples = 0
    for partition in partitions:
        batches = [toy_batch(40 + 3 * n, start=1000 * n, seed=partition.partition) for n in range(records)]
        marks = [Mark() if n % 7 == partition.partition else b"damaged" for n in range(records)]
        pairs = zip(batches, marks, strict=True)
        append_all(log, partition, [content for pair in pairs for content in pair] + [Mark(final=True)])
        num_examples += sum(map(len, batches))
    return num_examples


def fill_with_corrections(log: EventLog, partitions: Sequence[TopicPartition], records: int) -> int:
    """Records one after the other in time, each followed by what changed of the one before; how many examples."""
    num_examples = 0
    for partition in partitions:
        batches = [toy_batch(60, start=60 * n, seed=partition.partition) for n in range(records)]
        late = [corrected(batch, n) for n, batch in enumerate(batches)]
        contents: list[ExampleBatch | Mark] = list(batches[:1])
        for batch, correction in zip(batches[1:], late, strict=False):
            contents += [batch, correction]
        append_all(log, partition, [*contents, Mark(final=True)])
        num_examples += sum(len(each) for each in contents if isinstance(each, ExampleBatch))
    return num_examples


def corrected(batch: ExampleBatch, seed: int) -> ExampleBatch:
    """Some of the batch's negatives, clicked a minute and a half later."""
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero((batch.label < 0.5) & (rng.random(len(batch)) < 0.3))
    whole = concat_batches([batch.slice(row, row + 1) for row in rows.tolist()])
    late_ms = np.full(len(whole), _LATE_MS, dtype=np.int64)
    return replace(
        whole, label=np.ones(len(whole), dtype=np.float32), correction=np.ones(len(whole), dtype=np.bool_),
        delay_ms=late_ms, decided_time_ms=whole.event_time_ms[whole.request_index] + late_ms,
    )  # fmt: skip

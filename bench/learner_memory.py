"""A learner over a long stream in a process of its own: `python -m bench.learner_memory RECIPE EXAMPLES LOOKS`.

Prints examples learnt and memory, look by look, as JSON. Rows of Criteo's shape from one stationary set of ids; a
tenth of the negatives of each batch comes back as corrections with the next. Every bounded store is set so small
that it is full early: rows, counted keys, horizon, the examples of a round.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import msgspec
import numpy as np
import torch

from bench.process_memory import memory_of
from bench.train import load_criteo_schema
from streams.contract.counters import Counter
from streams.contract.examples import ExampleBatch, concat_batches
from streams.contract.schema import Schema
from streams.simulator.criteo_shaped import CriteoShape, criteo_shaped
from trainer.counting import count
from trainer.future.live import continual_learner
from trainer.learner import Learner
from trainer.prepare import Preparer
from trainer.recipes import RecipeConfig, recipe, with_table_rows

BOUNDS = {"table_rows": 2_000, "keys_per_counter": 5_000, "horizon_seconds": 600, "round_seconds": 1_200,
          "milliseconds_per_request": 200}  # fmt: skip
_LATE_MS = 60_000
_STEPS_A_VERSION = 50


def main() -> None:
    name, examples, looks = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="freshet-bench-") as folder:
        learner = continual_learner(_schema(), _recipe(name), Path(folder))
        seen = [(learnt, asdict(memory_of(os.getpid()))) for learnt in _learn(learner, examples, examples // looks)]
    sys.stdout.write(json.dumps(seen) + "\n")


def _schema() -> Schema:
    counters = tuple(
        Counter(name="_x_".join(key), key=key, half_lives_seconds=(60.0, 600.0),
                capacity=BOUNDS["keys_per_counter"], horizon_seconds=float(BOUNDS["horizon_seconds"]))
        for key in (("C19",), ("C26",), ("C1", "C20"))
    )  # fmt: skip
    return msgspec.structs.replace(load_criteo_schema(), counters=counters)


def _recipe(name: str) -> RecipeConfig:
    config = with_table_rows(recipe(name), BOUNDS["table_rows"])
    if config.update is None:
        return config
    return replace(config, update=replace(config.update, round_seconds=float(BOUNDS["round_seconds"])))


def _learn(learner: Learner, num_examples: int, look_every: int) -> Iterator[int]:
    """Learns the stream; gives the examples learnt whenever it is time for a look."""
    prepare, look_at = Preparer(learner.schema), look_every
    for number, batch in enumerate(_stream(num_examples, learner.recipe.batch_size)):
        learner.learn(count(learner.online, prepare(batch)))
        if number % _STEPS_A_VERSION == 0:
            # As a publisher does that takes and commits every version.
            for changes in learner.accounts_of_changes:
                changes.settle(learner.counters.step)
                changes.taken(learner.counters.step)
        if learner.counters.examples >= look_at:
            look_at += look_every
            yield learner.counters.examples


def _stream(num_examples: int, batch_size: int) -> Iterator[ExampleBatch]:
    shape = CriteoShape(chunk_size=batch_size, milliseconds_per_request=BOUNDS["milliseconds_per_request"])
    random, before = np.random.default_rng(1), None
    for batch in criteo_shaped(num_examples, 11, shape):
        yield batch if before is None else concat_batches([batch, *_corrections(before, random)])
        before = batch


def _corrections(batch: ExampleBatch, random: np.random.Generator) -> list[ExampleBatch]:
    """A tenth of the negatives, clicked a minute later."""
    rows = np.flatnonzero((batch.label < 0.5) & (random.random(len(batch)) < 0.1))
    late = [batch.slice(row, row + 1) for row in rows.tolist()]
    one, yes, late_ms = np.ones(1, dtype=np.float32), np.ones(1, dtype=np.bool_), np.array([_LATE_MS])
    return [
        replace(each, label=one, correction=yes, delay_ms=late_ms, decided_time_ms=each.decided_time_ms + _LATE_MS)
        for each in late
    ]


if __name__ == "__main__":
    main()

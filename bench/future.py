"""What learning the mixing weights costs: future gradients over the batch window of the same rounds.

Both learn the same batches of `simulator:drift` in the same rounds, one after the other in turn; only
the rounds in which mixing weights were learnt are timed. The baseline reads, prepares and learns the
same window, so the ratio is the price of measuring gradients and training the generator alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from bench.machine import describe
from streams.command import say
from streams.contract.examples import ExampleBatch
from streams.contract.schema import Schema
from streams.datasets.options import DatasetOptions
from streams.datasets.registry import open_dataset
from trainer.instant_join import labelled_batches
from trainer.recipes import recipe
from trainer.subject import open_subject

GOAL = 1.2
DATA = "simulator:drift"
PAIRS = (("fgd-3", "batch-window-3"), ("fgd-3-live", "batch-window-3-live"))
_IMPRESSIONS_A_ROUND = 4_167
"""Of the data's ten minutes, which are the recipes' round."""
_WARM_UP_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of the timed batches: by the clock, and of this process' processor time."""

    seconds: float
    processor_seconds: float


def run(*, quick: bool = False) -> dict[str, Any]:
    """`ratio` and `processor_ratio` of each pair, medians over the repeats, with the repeats' own."""
    repeats, rounds = (2, 2) if quick else (5, 4)
    before = torch.get_num_threads()
    # one thread: with as many busy processes as cores, threads of one product wait for each other
    torch.set_num_threads(1)
    try:
        warm_up, timed, schema = _data(rounds)
        pairs = {future: _pair(future, window, schema, warm_up, timed, repeats) for future, window in PAIRS}
    finally:
        torch.set_num_threads(before)
    worst = max(pair["processor_ratio"] for pair in pairs.values())
    return {**describe(repeats), "data": DATA, "timed_rounds": rounds, "goal": GOAL, "pairs": pairs,
            "processor_ratio": worst, "met": worst <= GOAL}  # fmt: skip


def _data(rounds: int) -> tuple[list[ExampleBatch], list[ExampleBatch], Schema]:
    """Batches before and behind the end of the warm-up, and the schema."""
    count = _IMPRESSIONS_A_ROUND * (_WARM_UP_ROUNDS + rounds)
    dataset = open_dataset(DATA, DatasetOptions(max_impressions=count))
    assert dataset.schema is not None, "the simulator has a schema"
    config = recipe(PAIRS[0][0])
    assert config.update is not None, "it has rounds"
    batches = list(labelled_batches(dataset.observed, kind=config.kind, batch_size=config.batch_size))
    first = int(batches[0].event_time_ms[0]) // config.update.round_ms
    begins = (first + 1 + _WARM_UP_ROUNDS) * config.update.round_ms
    split = next(place for place, batch in enumerate(batches) if int(batch.event_time_ms[-1]) >= begins)
    return batches[:split], batches[split:], dataset.schema


def _pair(
    future: str, window: str, schema: Schema, warm_up: Sequence[ExampleBatch], timed: Sequence[ExampleBatch],
    repeats: int,
) -> dict[str, Any]:  # fmt: skip
    costs: list[dict[str, Cost]] = []
    for repeat in range(repeats):
        order = (future, window) if repeat % 2 else (window, future)
        costs.append({name: _cost(name, schema, warm_up, timed) for name in order})
        ratio = costs[-1][future].processor_seconds / costs[-1][window].processor_seconds
        say(f"{future} over {window}: {ratio:.3f} of the processor time")
    examples = sum(map(len, timed))
    processor = [each[future].processor_seconds / each[window].processor_seconds for each in costs]
    clock = [each[future].seconds / each[window].seconds for each in costs]
    return {
        "baseline": window, "examples": examples,
        "ratio": round(median(clock), 3), "processor_ratio": round(median(processor), 3),
        "ratios": [round(each, 3) for each in clock], "processor_ratios": [round(each, 3) for each in processor],
        "examples_per_processor_second": round(examples / median(each[future].processor_seconds for each in costs)),
    }  # fmt: skip


def _cost(name: str, schema: Schema, warm_up: Sequence[ExampleBatch], timed: Sequence[ExampleBatch]) -> Cost:
    with open_subject(schema, recipe(name)) as subject:
        for batch in warm_up:
            subject.take(batch)
        began, processor = time.monotonic(), time.process_time()
        for batch in timed:
            subject.take(batch)
        return Cost(time.monotonic() - began, time.process_time() - processor)

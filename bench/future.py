"""What learning the mixing weights costs: future gradients over the batch window of the same rounds.

Both learn the same batches of `simulator:drift` in the same rounds, one after the other in turn; only
the rounds in which mixing weights were learnt are timed. The baseline reads, prepares and learns the
same window, so the ratio is the price of measuring gradients and training the generator alone.
"""

from __future__ import annotations

from typing import Any

import torch

from bench.machine import describe
from bench.recipe_cost import compare
from streams.contract.examples import ExampleBatch
from streams.contract.schema import Schema
from streams.datasets.options import DatasetOptions
from streams.datasets.registry import open_dataset
from trainer.instant_join import labelled_batches
from trainer.recipes import recipe

GOAL = 1.2
DATA = "simulator:drift"
PAIRS = (("fgd-3", "batch-window-3"), ("fgd-3-live", "batch-window-3-live"))
_IMPRESSIONS_A_ROUND = 4_167
"""Of the data's ten minutes, which are the recipes' round."""
_WARM_UP_ROUNDS = 5


def run(*, quick: bool = False) -> dict[str, Any]:
    """`ratio` and `processor_ratio` of each pair, medians over the repeats, with the repeats' own."""
    repeats, rounds = (2, 2) if quick else (5, 4)
    before = torch.get_num_threads()
    # one thread: with as many busy processes as cores, threads of one product wait for each other
    torch.set_num_threads(1)
    try:
        warm_up, timed, schema = _data(rounds)
        pairs = {future: compare(future, window, schema, warm_up, timed, repeats) for future, window in PAIRS}
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

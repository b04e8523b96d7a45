"""What share of the bare step's speed the whole loop reaches, from pairs of runs one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.bare_step import BareStep
from bench.whole_loop import TimedLearner, fill_topic, run_loop
from streams.command import say
from streams.contract.examples import ExampleBatch
from streams.contract.schema import Schema
from streams.log import open_log
from streams.simulator.criteo_shaped import CriteoShape, criteo_shaped
from trainer.recipes import RecipeConfig

ROWS_A_RECORD = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class ShareConfig:
    """Rounds, examples a round, and examples learnt before the first round."""

    rounds: int = 7
    examples: int = 40_960
    warm_up: int = 40_960


def loop_share(schema: Schema, recipe: RecipeConfig, config: ShareConfig, folder: Path) -> dict[str, Any]:
    """Alternates loop and step over the same rows; the median ratio of pairs, and both medians."""
    total = config.warm_up + config.rounds * config.examples
    records = list(criteo_shaped(total, 7, CriteoShape(chunk_size=ROWS_A_RECORD)))
    learner, bare = TimedLearner(schema, recipe), BareStep(schema, recipe)
    log = open_log(f"embedded:{folder / 'log'}")
    pairs = []
    try:
        at = 0
        for number in range(config.rounds + 1):
            size = (config.examples if number else config.warm_up) // ROWS_A_RECORD
            segment, at = records[at : at + size], at + size
            fill_topic(log, f"examples-{number}", segment)
            steps = [bare.prepare(batch) for batch in _batches(segment, recipe.batch_size)]
            # the other one first every second time: neither always finds the machine as its rival left it
            if number % 2:
                step = bare.examples_per_second(steps)
            loop = run_loop(log, f"examples-{number}", learner, folder / f"checkpoints-{number}")
            if not number % 2:
                step = bare.examples_per_second(steps)
            if number:
                pairs.append((loop, step))
                say(f"{recipe.name}: loop {loop:.0f}/s, step {step:.0f}/s, share {loop / step:.3f}")
    finally:
        log.close()
    return {
        "share": round(median(loop / step for loop, step in pairs), 3),
        "loop_examples_per_second": round(median(loop for loop, _ in pairs)),
        "step_examples_per_second": round(median(step for _, step in pairs)),
        "shares": [round(loop / step, 3) for loop, step in pairs],
    }


def _batches(records: Sequence[ExampleBatch], size: int) -> list[ExampleBatch]:
    return [batch.slice(at, at + size) for batch in records for at in range(0, len(batch), size)]

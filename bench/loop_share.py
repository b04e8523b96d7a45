"""What share of the bare step's speed the whole loop reaches, from pairs of runs one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.bare_step import BareStep, TorchRecStep
from bench.whole_loop import TimedLearner, fill_topic, run_loop
from streams.command import say
from streams.contract.examples import ExampleBatch
from streams.contract.schema import Schema
from streams.log.event_log import open_log
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
    """Alternates loop and steps over the same rows; median ratios of the rounds, and the medians of speeds."""
    total = config.warm_up + config.rounds * config.examples
    records = list(criteo_shaped(total, 7, CriteoShape(chunk_size=ROWS_A_RECORD)))
    learner, theirs, own = TimedLearner(schema, recipe), TorchRecStep(schema, recipe), BareStep(schema, recipe)
    log = open_log(f"embedded:{folder / 'log'}")
    rounds: list[_Round] = []
    try:
        at = 0
        for number in range(config.rounds + 1):
            size = (config.examples if number else config.warm_up) // ROWS_A_RECORD
            segment, at = records[at : at + size], at + size
            fill_topic(log, f"examples-{number}", segment)
            batches = [own.prepare(batch) for batch in _batches(segment, recipe.batch_size)]
            # the others first every second time: the loop does not always find the machine as its rivals left it
            steps = [step.examples_per_second(batches) for step in (theirs, own)] if number % 2 else []
            loop = run_loop(log, f"examples-{number}", learner, folder / f"checkpoints-{number}")
            steps = steps or [step.examples_per_second(batches) for step in (theirs, own)]
            if number:
                rounds.append(_Round(loop, *steps))
                say(f"{recipe.name}: loop {loop:.0f}/s, TorchRec's step {steps[0]:.0f}/s, own step {steps[1]:.0f}/s")
    finally:
        log.close()
    return _summary(rounds)


@dataclass(frozen=True, slots=True)
class _Round:
    """Examples a second of the whole loop, the step with TorchRec's collection, the trainer's own step."""

    loop: float
    step: float
    own_step: float


def _summary(rounds: Sequence[_Round]) -> dict[str, Any]:
    return {
        "share": round(median(each.loop / each.step for each in rounds), 3),
        "share_of_own_step": round(median(each.loop / each.own_step for each in rounds), 3),
        "loop_examples_per_second": round(median(each.loop for each in rounds)),
        "step_examples_per_second": round(median(each.step for each in rounds)),
        "own_step_examples_per_second": round(median(each.own_step for each in rounds)),
        "shares": [round(each.loop / each.step, 3) for each in rounds],
    }


def _batches(records: Sequence[ExampleBatch], size: int) -> list[ExampleBatch]:
    return [batch.slice(at, at + size) for batch in records for at in range(0, len(batch), size)]

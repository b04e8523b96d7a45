"""What one recipe costs over another on the same batches: time on the clock, and processor time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from streams.command import say
from streams.contract.examples import ExampleBatch
from streams.contract.schema import Schema
from trainer.recipes import recipe
from trainer.subject import open_subject


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of the timed batches: by the clock, and of this process' processor time."""

    seconds: float
    processor_seconds: float


def compare(
    name: str, baseline: str, schema: Schema, warm_up: Sequence[ExampleBatch], timed: Sequence[ExampleBatch],
    repeats: int,
) -> dict[str, Any]:  # fmt: skip
    """Ratios of the recipe's cost to the baseline's, both on the same batches in turn, which goes first changing."""
    costs: list[dict[str, Cost]] = []
    for repeat in range(repeats):
        order = (name, baseline) if repeat % 2 else (baseline, name)
        costs.append({each: _cost(each, schema, warm_up, timed) for each in order})
        ratio = costs[-1][name].processor_seconds / costs[-1][baseline].processor_seconds
        say(f"{name} over {baseline}: {ratio:.3f} of the processor time")
    examples = sum(map(len, timed))
    processor = [each[name].processor_seconds / each[baseline].processor_seconds for each in costs]
    clock = [each[name].seconds / each[baseline].seconds for each in costs]
    return {
        "baseline": baseline, "examples": examples,
        "ratio": round(median(clock), 3), "processor_ratio": round(median(processor), 3),
        "ratios": [round(each, 3) for each in clock], "processor_ratios": [round(each, 3) for each in processor],
        "examples_per_processor_second": round(examples / median(each[name].processor_seconds for each in costs)),
    }  # fmt: skip


def _cost(name: str, schema: Schema, warm_up: Sequence[ExampleBatch], timed: Sequence[ExampleBatch]) -> Cost:
    with open_subject(schema, recipe(name)) as subject:
        for batch in warm_up:
            subject.take(batch)
        began, processor = time.monotonic(), time.process_time()
        for batch in timed:
            subject.take(batch)
        return Cost(time.monotonic() - began, time.process_time() - processor)

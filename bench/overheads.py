"""What online counters cost in time, and whether learners with more state than weights grow without end.

Time: the default recipe with its schema's counters over the one without, on the same batches in turn. Memory: each
recipe in a process of its own over one long stream, the slope behind a warm-up in which all bounded stores fill.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.learner_memory import BOUNDS
from bench.machine import describe
from bench.memory_slope import Samples, slopes
from bench.process_memory import Memory
from bench.recipe_cost import compare
from streams.command import say
from streams.datasets.options import DatasetOptions
from streams.datasets.registry import open_dataset
from trainer.instant_join import labelled_batches

DATA = "simulator:drift"
PAIR = ("default", "without-counters")
LEARNERS = ("without-counters", "default", "defer", "fgd-3-live")
"""All but the first with counters; the last two with heads, and with a window of rounds that learns its weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OverheadsConfig:
    """Impressions and repeats of the comparison; examples, and looks at memory, of each learner."""

    impressions: int = 12_000
    repeats: int = 5
    examples: int = 400_000
    looks: int = 100
    warm_up_share: float = 0.4


def run(*, quick: bool = False) -> dict[str, Any]:
    """`counters` with its ratios, and `memory` by recipe."""
    quickly = OverheadsConfig(impressions=600, repeats=2, examples=10_000, looks=20)
    config = quickly if quick else OverheadsConfig()
    return {**describe(config.repeats), **measure(config)}


def measure(config: OverheadsConfig) -> dict[str, Any]:
    """Both parts, the thread count restored behind them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        counters = _counters(config)
    finally:
        torch.set_num_threads(before)
    memory = {name: _memory(name, config) for name in LEARNERS}
    warm_up = int(config.warm_up_share * config.examples)
    return {"data": DATA, "counters": counters, "memory": memory, "memory_examples": config.examples,
            "memory_warm_up_examples": warm_up, "held_constant": BOUNDS}  # fmt: skip


def _counters(config: OverheadsConfig) -> dict[str, Any]:
    dataset = open_dataset(DATA, DatasetOptions(max_impressions=config.impressions))
    schema = dataset.schema
    assert schema is not None, "the simulator has a schema"
    batches = list(labelled_batches(dataset.observed, kind="click", batch_size=256))
    split = len(batches) // 3
    return compare(*PAIR, schema, batches[:split], batches[split:], config.repeats)


def _memory(name: str, config: OverheadsConfig) -> dict[str, Any]:
    """Slopes and sizes in MiB of a learner's own process. Raises CalledProcessError where it fails."""
    command = [sys.executable, "-m", "bench.learner_memory", name, str(config.examples), str(config.looks)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True, check=True)
    looks = json.loads(done.stdout.splitlines()[-1])
    samples = Samples([learnt for learnt, _ in looks], {name: [Memory(**memory) for _, memory in looks]})
    found = slopes(samples, config.warm_up_share * config.examples)
    renamed = {key.replace("million_events", "million_examples"): each[name] for key, each in found.items()}
    say(f"{name}: {renamed['anonymous_slope_mib_per_million_examples']} MiB a million examples")
    return renamed

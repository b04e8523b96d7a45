"""How fast Freshet learns where it predicts no worse than the plain DLRM of batch 256, on one stream.

Rates, widths and batch size are chosen on the first examples alone; the whole stream then decides:
the fastest choice whose normalized entropy over all of it is no worse counts. Freshet's speed is that
of the whole loop from the log; the plain loop's rows are already in memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.plain_torch import PlainConfig, PlainLearner, plain_pass
from bench.whole_loop import TimedLearner, fill_topic, run_loop
from streams.command import say
from streams.contract.examples import ExampleBatch
from streams.contract.schema import Schema
from streams.log.event_log import EventLog, open_log
from trainer.model.dlrm import DlrmConfig
from trainer.recipes import RecipeConfig, recipe
from trainer.tally import entropy, log_losses

_WIDTHS = (DlrmConfig(bottom=(32,), top=(64,)), DlrmConfig(bottom=(64,), top=(128, 64)))
_PLAIN_RATES = ((0.01, 0.001), (0.02, 0.001), (0.02, 0.002), (0.02, 0.004), (0.02, 0.008), (0.04, 0.002), (0.04, 0.004))


@dataclass(frozen=True, kw_only=True, slots=True)
class EqualConfig:
    """Examples to choose on (of the stream's beginning), choices, and passes over the whole stream."""

    tune_examples: int = 102_400
    rounds: int = 3
    batch_sizes: tuple[int, ...] = (1024, 2048)
    table_rates: tuple[float, ...] = (0.02, 0.03)
    dense_rates: tuple[float, ...] = (0.004, 0.008)
    plain_rates: tuple[tuple[float, float], ...] = _PLAIN_RATES
    """Pairs of table rate and dense rate."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One pass: normalized entropy of the predictions made before learning, examples a second by both clocks."""

    entropy: float
    examples_per_second: float
    examples_per_cpu_second: float


def equal_ne(stream: Sequence[ExampleBatch], schema: Schema, config: EqualConfig, folder: Path) -> dict[str, Any]:
    """The ratio of speeds, both sides' figures, and every choice that was tried."""
    log = open_log(f"embedded:{folder / 'equal'}")
    try:
        bench = _Bench(log, schema, stream, config, folder)
        return bench.run()
    finally:
        log.close()


class _Bench:
    """The stream, whole and its beginning, in the log and in memory."""

    def __init__(
        self, log: EventLog, schema: Schema, stream: Sequence[ExampleBatch], config: EqualConfig, folder: Path
    ) -> None:
        self._log, self._schema, self._config, self._folder = log, schema, config, folder
        self._parts = {"beginning": _beginning(stream, config.tune_examples), "whole": list(stream)}
        for topic, batches in self._parts.items():
            fill_topic(log, topic, batches)
        self._num_runs = 0

    def run(self) -> dict[str, Any]:
        plain_config, plain_tried = self._tune_plain()
        limit = min(entry["normalized_entropy"] for entry in plain_tried)
        choices = sorted(self._tried(), key=lambda choice: -choice[1].examples_per_second)
        plain = self._plain("whole", plain_config)
        chosen, outcome = self._fastest_no_worse([r for r, o in choices if o.entropy <= limit], plain.entropy)
        result: dict[str, Any] = {
            "plain": {**_describe_plain(plain_config, plain), "tried": plain_tried},
            "tried": [_describe(each, found) for each, found in choices],
        }
        if chosen is None or outcome is None:
            return {**result, "ratio": None, "freshet": None}
        pairs = [(plain, outcome)]
        pairs += [(self._plain("whole", plain_config), self._freshet("whole", chosen))
                  for _ in range(self._config.rounds - 1)]  # fmt: skip
        plains, freshets = [p for p, _ in pairs], [f for _, f in pairs]
        ratios = [f.examples_per_second / p.examples_per_second for p, f in pairs]
        cpu_ratios = [f.examples_per_cpu_second / p.examples_per_cpu_second for p, f in pairs]
        return {
            **result, "ratio": round(median(ratios), 3), "ratios": [round(ratio, 3) for ratio in ratios],
            "cpu_ratio": round(median(cpu_ratios), 3),
            "plain": {**_describe_plain(plain_config, _middle(plains)), "tried": plain_tried},
            "freshet": _describe(chosen, _middle(freshets)),
        }  # fmt: skip

    def _tune_plain(self) -> tuple[PlainConfig, list[dict[str, Any]]]:
        configs = [PlainConfig(table_rate=table, dense_rate=dense) for table, dense in self._config.plain_rates]
        found = [self._plain("beginning", config) for config in configs]
        best = min(range(len(configs)), key=lambda number: found[number].entropy)
        return configs[best], [_describe_plain(*pair) for pair in zip(configs, found, strict=True)]

    def _tried(self) -> list[tuple[RecipeConfig, Outcome]]:
        return [(each, self._freshet("beginning", each)) for each in _choices(self._config)]

    def _fastest_no_worse(
        self, recipes: Sequence[RecipeConfig], limit: float
    ) -> tuple[RecipeConfig | None, Outcome | None]:
        for each in recipes:
            outcome = self._freshet("whole", each)
            if outcome.entropy <= limit:
                return each, outcome
        return None, None

    def _plain(self, part: str, config: PlainConfig) -> Outcome:
        batches, learner = self._parts[part], PlainLearner(config)
        began = time.perf_counter(), time.process_time()
        logits = plain_pass(batches, learner)
        seconds, cpu_seconds = time.perf_counter() - began[0], time.process_time() - began[1]
        label = np.concatenate([batch.label for batch in batches]).astype(np.float64)
        loss = float(log_losses(logits.astype(np.float64), label).mean())
        outcome = Outcome(loss / entropy(float(label.mean())), len(label) / seconds, len(label) / cpu_seconds)
        say(f"plain, {part}: NE {outcome.entropy:.4f}, {outcome.examples_per_second:.0f}/s")
        return outcome

    def _freshet(self, part: str, chosen: RecipeConfig) -> Outcome:
        self._num_runs += 1
        learner = TimedLearner(self._schema, chosen)
        speed = run_loop(self._log, part, learner, self._folder / f"run-{self._num_runs}")
        scores = learner.progressive.lifetime.scores()
        outcome = Outcome(scores.normalized_entropy, speed, learner.lap.examples_per_cpu_second)
        say(f"{chosen.name}, {part}: NE {outcome.entropy:.4f}, {outcome.examples_per_second:.0f}/s")
        return outcome


def _middle(outcomes: Sequence[Outcome]) -> Outcome:
    """The medians of runs that learnt the same."""
    return Outcome(
        outcomes[0].entropy,
        median(outcome.examples_per_second for outcome in outcomes),
        median(outcome.examples_per_cpu_second for outcome in outcomes),
    )


def _choices(config: EqualConfig) -> Iterator[RecipeConfig]:
    base = recipe("default")
    choices = product(_WIDTHS, config.batch_sizes, config.table_rates, config.dense_rates)
    for network, size, table_rate, dense_rate in choices:
        yield replace(
            base, name=f"bottom {network.bottom} top {network.top} batch {size} rates {table_rate:g}, {dense_rate:g}",
            network=network, batch_size=size, first_parts=None,
            tables=replace(base.tables, learning_rate=table_rate),
            optimizer=replace(base.optimizer, learning_rate=dense_rate),
        )  # fmt: skip


def _beginning(stream: Sequence[ExampleBatch], examples: int) -> list[ExampleBatch]:
    count = 0
    beginning = []
    for batch in stream:
        if count >= examples:
            break
        beginning.append(batch)
        count += len(batch)
    return beginning


def _describe(each: RecipeConfig, outcome: Outcome) -> dict[str, Any]:
    return {
        "setting": each.name, "batch_size": each.batch_size, "table_rate": each.tables.learning_rate,
        "dense_rate": each.optimizer.learning_rate, "normalized_entropy": round(outcome.entropy, 5),
        **_speeds(outcome),
    }  # fmt: skip


def _describe_plain(config: PlainConfig, outcome: Outcome) -> dict[str, Any]:
    return {
        "batch_size": config.batch_size, "table_rate": config.table_rate, "dense_rate": config.dense_rate,
        "normalized_entropy": round(outcome.entropy, 5), **_speeds(outcome),
    }  # fmt: skip


def _speeds(outcome: Outcome) -> dict[str, int]:
    return {
        "examples_per_second": round(outcome.examples_per_second),
        "examples_per_cpu_second": round(outcome.examples_per_cpu_second),
    }

"""Progressive validation of recipes on a data set, without any service.

Each recipe, with each seed, sees the same examples in the same order, in its own batches: predicts,
is scored, learns. One after the other, so that memory holds one model at a time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch

from streams.contract.errors import InputError
from streams.contract.examples import ExampleBatch
from streams.contract.schema import Schema
from streams.datasets.observed import Observed
from streams.ranges import check_seed, check_threads
from trainer.calibration_curve import CalibrationCurve, merged
from trainer.delayed.simulation import DelayedLabels, Simulation
from trainer.instant_join import labelled_batches
from trainer.learner import Scored
from trainer.paired import BlockSums, Paired, compare
from trainer.periods import Period, Periods
from trainer.recipes import RecipeConfig, with_seed
from trainer.strategies.hindsight import in_hindsight
from trainer.subject import Subject, open_subject
from trainer.tally import Scores


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedResult:
    """One recipe with one seed."""

    seed: int
    scores: Scores
    periods: list[Period]
    blocks: BlockSums
    examples_per_second: float
    curve: CalibrationCurve


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeResult:
    """One recipe with all seeds; the scores are means over seeds."""

    name: str
    seeds: list[SeedResult]

    def mean(self, score: str) -> float:
        """The mean over seeds of a field of Scores."""
        return fmean(getattr(seed.scores, score) for seed in self.seeds)

    @property
    def stderr(self) -> float:
        """Standard error over seeds of the normalized entropy; nan with one seed."""
        values = [seed.scores.normalized_entropy for seed in self.seeds]
        return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan

    def curve(self) -> CalibrationCurve:
        """All seeds' predictions behind the warm-up."""
        return merged([seed.curve for seed in self.seeds])

    def per_period(self) -> list[dict[str, float]]:
        """For each period its times and the means over seeds of its scores."""
        rows = []
        for periods in zip(*(seed.periods for seed in self.seeds), strict=True):
            dicts = [period.as_dict() for period in periods]
            rows.append({name: fmean(each[name] for each in dicts) for name in dicts[0]})
        return rows

    def as_dict(self) -> dict[str, Any]:
        """As `--json` has it; undefined scores are None."""
        means = {name: self.mean(name) for name in ("auc", "log_loss", "normalized_entropy", "calibration")}
        curve = self.curve()
        return {
            **curve.as_dict(),
            **{name: _or_none(value) for name, value in means.items()},
            "examples": self.seeds[0].scores.examples,
            "examples_per_second": fmean(seed.examples_per_second for seed in self.seeds),
            "per_period": self.per_period(),
            "stderr": _or_none(self.stderr),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """All recipes on one data set. The base rate's log loss knows the data's mean label beforehand."""

    recipes: list[RecipeResult]
    paired: list[Paired]
    base_rate_log_loss: float
    bayes_log_loss: float
    """Of the true probabilities, where the data set has them; else nan."""

    def as_dict(self) -> dict[str, Any]:
        """As `--json` has it."""
        return {
            "recipes": {recipe.name: recipe.as_dict() for recipe in self.recipes},
            "base_rate_log_loss": _or_none(self.base_rate_log_loss),
            "bayes_log_loss": _or_none(self.bayes_log_loss),
            "paired": [
                {"a": p.a, "b": p.b, "delta_ne": _or_none(p.delta_ne), "ci95": [_or_none(end) for end in p.ci95]}
                for p in self.paired
            ],
        }


OnProgress = Callable[[str, int, int, Scores], None]
"""Called with recipe, seed, examples so far and lifetime scores, about once a second."""


def evaluate(
    open_data: Callable[[], Iterable[Observed]],
    schema: Schema,
    recipes: Sequence[RecipeConfig],
    *,
    seeds: Sequence[int] = (0,),
    device: str = "cpu",
    threads: int = 1,
    labels: DelayedLabels | None = None,
    on_progress: OnProgress = lambda recipe, seed, examples, scores: None,
) -> Evaluation:
    """Runs each recipe with each seed over the data, which is opened anew for each; twice for one with hindsight.

    Without `labels`, each label is known at its impression's time; with them, it comes when it would have come.

    Raises InputError where a name stands twice, nothing was asked for, a number is out of its range, the data holds
    no example, or an example does not fit the schema.
    """
    _check(recipes, seeds, threads)
    torch.set_num_threads(threads)
    results = []
    for recipe in recipes:
        runs = [_run(open_data, schema, recipe, seed, device, labels, on_progress) for seed in seeds]
        results.append(RecipeResult(name=recipe.name, seeds=runs))
    first = results[0].seeds[0].scores
    return Evaluation(
        recipes=results,
        paired=[
            compare(a.name, b.name, [seed.blocks for seed in a.seeds], [seed.blocks for seed in b.seeds])
            for a, b in combinations(results, 2)
        ],
        base_rate_log_loss=first.base_rate_log_loss,
        bayes_log_loss=first.bayes_log_loss,
    )


def _run(
    open_data: Callable[[], Iterable[Observed]],
    schema: Schema,
    recipe: RecipeConfig,
    seed: int,
    device: str,
    labels: DelayedLabels | None,
    on_progress: OnProgress,
) -> SeedResult:
    decided = in_hindsight(open_data, schema, with_seed(recipe, seed), device=device)
    with open_subject(schema, decided, device=device) as subject:
        return _run_subject(subject, open_data(), recipe, seed, labels, on_progress)


def _run_subject(
    subject: Subject,
    data: Iterable[Observed],
    recipe: RecipeConfig,
    seed: int,
    labels: DelayedLabels | None,
    on_progress: OnProgress,
) -> SeedResult:
    periods, blocks, curve = Periods(), BlockSums(), CalibrationCurve()
    if labels is None:
        steps, progressive = _learn_at_once(subject, recipe, data), subject.progressive
    else:
        simulation = Simulation(subject.learner_of_steps(), labels)
        steps, progressive = simulation.run(data), simulation.progressive
    seconds, report_at = 0.0, time.monotonic() + 1.0
    for examples, scored, step_seconds in steps:
        seconds += step_seconds
        _add(examples, scored, periods, blocks, curve)
        if time.monotonic() >= report_at:
            report_at = time.monotonic() + 1.0
            so_far = progressive.lifetime.scores()
            on_progress(recipe.name, seed, so_far.examples, so_far)
    scores = progressive.lifetime.scores()
    if not scores.examples:
        raise InputError("holds no examples", field="data", remedy="check its path, format and limit")
    on_progress(recipe.name, seed, scores.examples, scores)
    return SeedResult(
        seed=seed, scores=scores, periods=periods.periods(), blocks=blocks, curve=curve,
        examples_per_second=scores.examples / max(seconds, 1e-9),
    )  # fmt: skip


def _learn_at_once(
    subject: Subject, recipe: RecipeConfig, data: Iterable[Observed]
) -> Iterator[tuple[ExampleBatch, Scored, float]]:
    """Batches with their labels, how they were predicted, and the seconds of predicting and learning them."""
    for examples in labelled_batches(data, kind=recipe.kind, batch_size=recipe.batch_size):
        began = time.monotonic()
        scored = subject.take(examples)
        yield examples, scored, time.monotonic() - began


def _add(examples: ExampleBatch, scored: Scored, periods: Periods, blocks: BlockSums, curve: CalibrationCurve) -> None:
    label, weight, true = (
        column.astype(np.float64) for column in (examples.label, examples.weight, examples.true_probability)
    )
    times_ms = examples.event_time_ms[examples.request_index]
    periods.add(times_ms, label, scored.logit.astype(np.float64), weight, scored.loss, true)
    blocks.add(scored.loss, label, weight)
    curve.add(label, scored.logit, scored.uncalibrated, weight, true)


def _check(recipes: Sequence[RecipeConfig], seeds: Sequence[int], threads: int) -> None:
    names = [recipe.name for recipe in recipes]
    if not names or len(set(names)) < len(names):
        raise InputError("name one recipe or more, each once", field="recipe", value=names)
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError("name one seed or more, each once", field="seeds", value=list(seeds))
    for seed in seeds:
        check_seed(seed, field="seeds")
    check_threads(threads)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value

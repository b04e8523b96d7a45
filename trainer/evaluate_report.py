"""An evaluation as a Markdown report with plots, for people."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path

from streams.contract.errors import UnavailableError
from trainer.evaluate import Evaluation, RecipeResult

REPORT = "report.md"
_PLOTS = {"normalized_entropy": "normalized entropy", "auc": "AUC", "calibration": "calibration"}


def write_report(evaluation: Evaluation, folder: Path, *, title: str) -> Path:
    """Writes report.md, a plot for each score, and evaluation.json; the report's path.

    Raises UnavailableError where the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for score, label in _PLOTS.items():
            _plot(evaluation, score, label, folder / f"{score}.png")
        (folder / "evaluation.json").write_text(json.dumps(evaluation.as_dict(), indent=1), encoding="utf-8")
        (folder / REPORT).write_text(markdown(evaluation, title), encoding="utf-8")
    except OSError as error:
        raise UnavailableError(f"the report cannot be written: {error}", field="out", value=str(folder),
                               remedy="give a folder that can be written") from error  # fmt: skip
    return folder / REPORT


def markdown(evaluation: Evaluation, title: str) -> str:
    """The report's text: the table of recipes, the differences, the plots."""
    lines = [f"# {title}", "", "Every example is predicted, scored, and only then learnt.", "", table(evaluation)]
    if evaluation.paired:
        lines += ["## Differences", "", "Negative: the first is better. 95 % intervals of a paired block bootstrap.",
                  "", "| recipes | Δ normalized entropy | 95 % |", "|---|---|---|"]  # fmt: skip
        lines += [f"| {p.a} − {p.b} | {p.delta_ne:+.5f} | {p.ci95[0]:+.5f} to {p.ci95[1]:+.5f} |"
                  for p in evaluation.paired]  # fmt: skip
    lines += ["", "## Over time", "", *(f"![{label}]({score}.png)" for score, label in _PLOTS.items()), ""]
    return "\n".join(lines)


def table(evaluation: Evaluation) -> str:
    """The recipes' scores beside the base rate (and the best possible, where it is known), as Markdown."""
    head = "| recipe | log loss | normalized entropy | ± over seeds | AUC | calibration | examples/s |"
    lines = [head, "|---|---|---|---|---|---|---|", *(_row(recipe) for recipe in evaluation.recipes)]
    lines.append(f"| (base rate) | {evaluation.base_rate_log_loss:.5f} | 1 | | 0.5 | 1 | |")
    if not math.isnan(evaluation.bayes_log_loss):
        best = evaluation.bayes_log_loss
        lines.append(f"| (true probabilities) | {best:.5f} | {best / evaluation.base_rate_log_loss:.4f} | | | | |")
    examples = evaluation.recipes[0].seeds[0].scores.examples
    return "\n".join([*lines, "", f"{examples:,} examples, {len(evaluation.recipes[0].seeds)} seeds.", ""])


def _row(recipe: RecipeResult) -> str:
    speed = sum(seed.examples_per_second for seed in recipe.seeds) / len(recipe.seeds)
    stderr = "" if math.isnan(recipe.stderr) else f"{recipe.stderr:.5f}"
    return (
        f"| {recipe.name} | {recipe.mean('log_loss'):.5f} | {recipe.mean('normalized_entropy'):.4f} | {stderr} "
        f"| {recipe.mean('auc'):.4f} | {recipe.mean('calibration'):.3f} | {speed:,.0f} |"
    )


def _plot(evaluation: Evaluation, score: str, label: str, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for recipe in evaluation.recipes:
        periods = [period for period in recipe.per_period() if score in period]
        times = [datetime.fromtimestamp(period["start_ms"] / 1000, UTC) for period in periods]
        axes.plot(times, [period[score] for period in periods], marker=".", label=recipe.name)  # type: ignore[arg-type]
    axes.set_ylabel(label)
    axes.tick_params(axis="x", rotation=30)
    axes.legend()
    figure.savefig(path, dpi=120)

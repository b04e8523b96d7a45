"""An evaluation as a Markdown report with plots, for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streams.contract.errors import UnavailableError
from trainer.calibration_curve import WARM_UP_EXAMPLES
from trainer.evaluate import Evaluation, RecipeResult
from trainer.evaluate_plots import CURVE, OVER_TIME, write_plots

REPORT = "report.md"


def write_report(
    evaluation: Evaluation,
    folder: Path,
    *,
    title: str,
    settings: Mapping[str, Any] | None = None,
    marks_ms: Mapping[int, str] | None = None,
) -> Path:
    """Writes report.md, the plots and evaluation.json; the report's path.

    `settings` are printed whole; `marks_ms` says what happened at which times of the data's clock.
    Raises UnavailableError where the folder cannot be written.
    """
    settings, marks_ms = dict(settings or {}), dict(marks_ms or {})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_plots(evaluation, folder, marks_ms)
        whole = {**evaluation.as_dict(), "settings": settings, "marks_ms": marks_ms}
        (folder / "evaluation.json").write_text(json.dumps(whole, indent=1), encoding="utf-8")
        (folder / REPORT).write_text(markdown(evaluation, title, settings, marks_ms), encoding="utf-8")
    except OSError as error:
        raise UnavailableError(f"the report cannot be written: {error}", field="out", value=str(folder),
                               remedy="give a folder that can be written") from error  # fmt: skip
    return folder / REPORT


def markdown(evaluation: Evaluation, title: str, settings: Mapping[str, Any], marks_ms: Mapping[int, str]) -> str:
    """The report's text: recipes, differences, calibration, periods, plots, settings."""
    marks = [f"- {_clock(at_ms)}: {what}" for at_ms, what in sorted(marks_ms.items())]
    parts = [
        f"# {title}",
        "Every example is predicted, scored, and only then learnt.",
        table(evaluation).rstrip(),
        *_differences(evaluation),
        "## Calibration",
        _calibration_caption(evaluation),
        calibration_table(evaluation),
        f"![calibration curves]({CURVE}.png)",
        "## Over time",
        *(["Known of the data:\n\n" + "\n".join(marks)] if marks else []),
        *(f"![{label}]({score}.png)" for score, label in OVER_TIME.items()),
        _periods(evaluation),
        *(["## Settings", f"```json\n{json.dumps(settings, indent=1)}\n```"] if settings else []),
    ]
    return "\n\n".join(parts) + "\n"


def table(evaluation: Evaluation) -> str:
    """The recipes' scores beside the base rate (and the best possible, where it is known), as Markdown."""
    head = "| recipe | log loss | normalized entropy | ± seeds | AUC | calibration | ECE | worst decile | examples/s |"
    lines = [head, "|---|---|---|---|---|---|---|---|---|"]
    for recipe in evaluation.recipes:
        lines.append(_row(recipe))
        before = recipe.curve().before
        if before is not None:
            error, worst = before.expected_error(), before.worst_decile()
            lines.append(f"| {recipe.name} before its map | | | | | | {error:.5f} | {_percent(worst)} | |")
    lines.append(_base_row(evaluation))
    if not math.isnan(evaluation.bayes_log_loss):
        best = evaluation.bayes_log_loss
        lines.append(f"| (true probabilities) | {best:.5f} | {best / evaluation.base_rate_log_loss:.4f} | | | | | | |")
    examples = evaluation.recipes[0].seeds[0].scores.examples
    return "\n".join([*lines, "", f"{examples:,} examples, {len(evaluation.recipes[0].seeds)} seeds.", ""])


def calibration_table(evaluation: Evaluation) -> str:
    """Mean prediction over what happened, less 1, by decile of the prediction; the base rate's beside it."""
    columns = "".join(f" {place} |" for place in range(1, 11))
    lines = [f"| recipe |{columns}", "|---" * 11 + "|"]
    for recipe in evaluation.recipes:
        curve = recipe.curve()
        for suffix, reliability in (("", curve.after), (" before its map", curve.before)):
            if reliability is not None:
                cells = [f" {100 * (decile.calibration - 1):+.1f} % |" for decile in reliability.deciles()]
                lines.append(f"| {recipe.name}{suffix} |{''.join(cells)}{' |' * (10 - len(cells))}")
    mean = evaluation.recipes[0].seeds[0].scores.mean_label
    lines.append(
        f"| (base rate, {mean:.5f} for every example; log loss {evaluation.base_rate_log_loss:.5f}) |{' |' * 10}"
    )
    return "\n".join(lines)


def _row(recipe: RecipeResult) -> str:
    speed = sum(seed.examples_per_second for seed in recipe.seeds) / len(recipe.seeds)
    stderr = "" if math.isnan(recipe.stderr) else f"{recipe.stderr:.5f}"
    after = recipe.curve().after
    return (
        f"| {recipe.name} | {recipe.mean('log_loss'):.5f} | {recipe.mean('normalized_entropy'):.4f} | {stderr} "
        f"| {recipe.mean('auc'):.4f} | {recipe.mean('calibration'):.3f} | {after.expected_error():.5f} "
        f"| {_percent(after.worst_decile())} | {speed:,.0f} |"
    )


def _base_row(evaluation: Evaluation) -> str:
    return f"| (base rate) | {evaluation.base_rate_log_loss:.5f} | 1 | | 0.5 | 1 | 0 | | |"


def _differences(evaluation: Evaluation) -> list[str]:
    if not evaluation.paired:
        return []
    pairs = evaluation.paired
    rows = [f"| {p.a} − {p.b} | {p.delta_ne:+.5f} | {p.ci95[0]:+.5f} to {p.ci95[1]:+.5f} |" for p in pairs]
    caption = (
        "Negative: the first is better. 95 % intervals of a paired bootstrap over "
        f"{pairs[0].num_blocks} stretches of time, seeds drawn within each draw."
    )
    base = f"| (base rate: normalized entropy 1, log loss {evaluation.base_rate_log_loss:.5f}) | | |"
    return [
        "## Differences",
        caption,
        "\n".join(["| recipes | Δ normalized entropy | 95 % |", "|---|---|---|", *rows, base]),
    ]


def _calibration_caption(evaluation: Evaluation) -> str:
    known = not math.isnan(evaluation.bayes_log_loss)
    left_out = evaluation.recipes[0].curve().warm_up_left_out
    against = "the mean true probability" if known else "the mean label"
    first = f" The first {WARM_UP_EXAMPLES:,} examples of each seed are left out." if left_out else ""
    return (
        f"By decile of the prediction, lowest first: mean prediction over {against}, less 1. "
        f"ECE: mean over deciles of |mean prediction − mean label|.{first}"
    )


def _periods(evaluation: Evaluation) -> str:
    names = [recipe.name for recipe in evaluation.recipes]
    lines = ["Normalized entropy by period, beside the log loss of the period's own base rate:", "",
             f"| from | examples | base rate | {' | '.join(names)} |", "|---" * (3 + len(names)) + "|"]  # fmt: skip
    for rows in zip(*(recipe.per_period() for recipe in evaluation.recipes), strict=True):
        scores = [f"{row['normalized_entropy']:.4f}" if "normalized_entropy" in row else "" for row in rows]
        base = f"{rows[0]['base_rate_log_loss']:.5f}" if "base_rate_log_loss" in rows[0] else ""
        lines.append(f"| {_clock(rows[0]['start_ms'])} | {rows[0]['examples']:,.0f} | {base} | {' | '.join(scores)} |")
    return "\n".join(lines)


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.1f} %"


def _clock(at_ms: float) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")

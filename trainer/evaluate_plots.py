"""The plots of an evaluation: scores over time with what is known to have happened, and calibration curves."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.evaluate import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OVER_TIME = {"normalized_entropy": "normalized entropy", "auc": "AUC", "calibration": "calibration"}
CURVE = "calibration_curve"
_ALWAYS = {"normalized_entropy": 1.0, "auc": 0.5, "calibration": 1.0}
"""What always predicting the mean label scores; for calibration it is what is wished for, too."""
_ENDS = ((min, "start_ms"), (max, "end_ms"))


def write_plots(evaluation: Evaluation, folder: Path, marks_ms: dict[int, str]) -> None:
    """Writes one PNG for each score over time, and the calibration curves; marks are drawn at their times."""
    for score, label in OVER_TIME.items():
        _save(
            folder / f"{score}.png", lambda axes, s=score, text=label: _over_time(axes, evaluation, s, text, marks_ms)
        )
    _save(folder / f"{CURVE}.png", lambda axes: _curves(axes, evaluation))


def _over_time(axes: Axes, evaluation: Evaluation, score: str, label: str, marks_ms: dict[int, str]) -> None:
    for recipe in evaluation.recipes:
        periods = [period for period in recipe.per_period() if score in period]
        axes.plot(_times(periods), [p[score] for p in periods], marker=".", label=recipe.name)
    if score == "normalized_entropy":
        known = [p for p in evaluation.recipes[0].per_period() if "bayes_log_loss" in p and score in p]
        best = [p["bayes_log_loss"] / p["base_rate_log_loss"] for p in known]
        if known:
            axes.plot(_times(known), best, "k:", label="true probabilities")
    axes.axhline(_ALWAYS[score], color="grey", linewidth=0.8, label="base rate" if score != "calibration" else "1")
    first, last = (fold(p[end] for p in evaluation.recipes[0].per_period()) for fold, end in _ENDS)
    for at_ms, what in ((at_ms, what) for at_ms, what in marks_ms.items() if first <= at_ms <= last):
        axes.axvline(_time(at_ms), color="red", linestyle="--", linewidth=0.8, label=what)  # type: ignore[arg-type]
    axes.set_ylabel(label)
    axes.tick_params(axis="x", rotation=30)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(handles.values(), handles.keys(), fontsize="small")


def _curves(axes: Axes, evaluation: Evaluation) -> None:
    ends = [1.0, 0.0]
    for recipe in evaluation.recipes:
        curve = recipe.curve()
        for suffix, reliability, style in (("", curve.after, "-"), (" before its map", curve.before, ":")):
            deciles = [] if reliability is None else reliability.deciles()
            points = [(d.mean_prediction, d.mean_label) for d in deciles if d.mean_prediction > 0 and d.mean_label > 0]
            if points:
                axes.plot(*zip(*points, strict=True), style, marker=".", label=f"{recipe.name}{suffix}")
                ends = [min(ends[0], *map(min, points)), max(ends[1], *map(max, points))]
    if ends[0] < ends[1]:
        axes.plot(ends, ends, color="grey", linewidth=0.8, label="ideal")
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_xlabel("mean prediction of a decile")
    axes.set_ylabel("mean label")
    axes.legend(fontsize="small")


def _save(path: Path, draw: Any) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure.subplots())
    figure.savefig(path, dpi=120)


def _times(periods: list[dict[str, float]]) -> Any:
    """Untyped: matplotlib draws datetimes, and its annotations do not know it."""
    return [_time(period["start_ms"]) for period in periods]


def _time(at_ms: float) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)

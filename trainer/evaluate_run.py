"""One evaluation from the command line's arguments: read, run, report."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from typing import Any

from streams.cli import data_options
from streams.command import Result, say
from streams.contract.errors import InputError
from streams.contract.schema import Schema, load_schema
from streams.datasets.registry import SIMULATOR, dataset_schema, open_dataset, split_spec
from streams.simulator.presets import CRITEO_PRESET, market_preset
from trainer.delayed.simulation import DelayedLabels
from trainer.evaluate import Evaluation, evaluate
from trainer.evaluate_report import table, write_report
from trainer.recipes import RecipeConfig, has_rounds, recipe, recipe_to_state, with_round_seconds, with_starting_rows
from trainer.tally import Scores


def run_evaluation(args: Namespace) -> Result:
    """Evaluates as `args` say; returns what `--json` prints, and the table beside. Raises InputError."""
    options = data_options(args)
    evaluation = evaluate(
        lambda: open_dataset(args.data, options),
        _schema(args),
        _recipes(args),
        seeds=args.seeds,
        device=args.device,
        threads=args.threads,
        labels=labels_asked_for(args),
        on_progress=_show,
    )
    result = {**evaluation.as_dict(), "table": table(evaluation)}
    if args.out:
        result["report"] = _report(evaluation, args)
    return result


def _recipes(args: Namespace) -> list[RecipeConfig]:
    recipes = [twin for name in args.recipe or ["default"] for twin in _twins(recipe(name), args.starting_rows)]
    if args.round_seconds is None:
        return recipes
    if not any(has_rounds(config) for config in recipes):
        raise InputError("no recipe has rounds", field="round-seconds", value=args.round_seconds,
                         remedy="leave it out, or evaluate one like fgd-3, too")  # fmt: skip
    return [with_round_seconds(config, args.round_seconds) for config in recipes]


def _twins(config: RecipeConfig, starting_rows: str | None) -> list[RecipeConfig]:
    """The recipe, and the same with the file's rows where there is one; peers have no rows to begin with."""
    if starting_rows is None or config.peer is not None:
        return [config]
    return [config, replace(with_starting_rows(config, starting_rows), name=f"{config.name}+starting-rows")]


def _schema(args: Namespace) -> Schema:
    schema = load_schema(args.schema) if args.schema else dataset_schema(args.data)
    if schema is None:
        raise InputError("has no schema of its own", field="data", value=args.data, remedy="give --schema FILE")
    return schema


def labels_asked_for(args: Namespace) -> DelayedLabels | None:
    """What --labels and --window-seconds say; None: labels are known at once. Raises InputError."""
    if args.labels == "delayed":
        return DelayedLabels() if args.window_seconds is None else DelayedLabels(window_seconds=args.window_seconds)
    if args.window_seconds is not None:
        raise InputError("says how long delayed labels are waited for", field="window-seconds",
                         value=args.window_seconds, remedy="give --labels delayed, too")  # fmt: skip
    return None


def _show(name: str, seed: int, examples: int, scores: Scores) -> None:
    say(f"{name}, seed {seed}: {examples} examples, NE {scores.normalized_entropy:.4f}, AUC {scores.auc:.4f}")


def _report(evaluation: Evaluation, args: Namespace) -> str:
    report = write_report(
        evaluation, args.out, title=f"Progressive validation on {args.data}",
        settings=_settings(args), marks_ms=_marks(args.data),
    )  # fmt: skip
    return str(report)


def _settings(args: Namespace) -> dict[str, Any]:
    """All that the figures follow from: the command's arguments, and every recipe whole."""
    given = {name: value for name, value in vars(args).items() if isinstance(value, str | int | float | tuple | list)}
    recipes = {config.name: recipe_to_state(config) for config in _recipes(args)}
    return {"arguments": given, "recipes": recipes}


def _marks(data: str) -> dict[int, str]:
    """What is known to have happened, and when: a simulated market's jumps."""
    name, preset = split_spec(data)
    if name != SIMULATOR or preset == CRITEO_PRESET:
        return {}
    return dict.fromkeys(market_preset(preset).jump_times_ms, "weights jump")

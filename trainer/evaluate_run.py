"""One evaluation from the command line's arguments: read, run, report."""

from __future__ import annotations

from argparse import Namespace

from streams.cli import data_options
from streams.command import Result, say
from streams.contract.errors import InputError
from streams.contract.schema import Schema, load_schema
from streams.datasets.registry import dataset_schema, open_dataset
from trainer.evaluate import Evaluation, evaluate
from trainer.evaluate_report import table, write_report
from trainer.recipes import recipe
from trainer.tally import Scores


def run_evaluation(args: Namespace) -> Result:
    """Evaluates as `args` say; returns what `--json` prints, and the table beside. Raises InputError."""
    options = data_options(args)
    evaluation = evaluate(
        lambda: open_dataset(args.data, options),
        _schema(args),
        [recipe(name) for name in args.recipe or ["default"]],
        seeds=args.seeds,
        device=args.device,
        threads=args.threads,
        on_progress=_show,
    )
    result = {**evaluation.as_dict(), "table": table(evaluation)}
    if args.out:
        result["report"] = _report(evaluation, args)
    return result


def _schema(args: Namespace) -> Schema:
    schema = load_schema(args.schema) if args.schema else dataset_schema(args.data)
    if schema is None:
        raise InputError("has no schema of its own", field="data", value=args.data, remedy="give --schema FILE")
    return schema


def _show(name: str, seed: int, examples: int, scores: Scores) -> None:
    say(f"{name}, seed {seed}: {examples} examples, NE {scores.normalized_entropy:.4f}, AUC {scores.auc:.4f}")


def _report(evaluation: Evaluation, args: Namespace) -> str:
    return str(write_report(evaluation, args.out, title=f"Progressive validation on {args.data}"))

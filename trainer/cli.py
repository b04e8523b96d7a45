"""`freshet train` and `freshet evaluate`. What is heavy is imported when a command runs, not before."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from streams.cli import add_data, add_metrics_page
from streams.command import Command, Result
from streams.contract.settings import settings_from
from streams.join.config import CLICK_WINDOW_SECONDS
from streams.log.event_log import EXAMPLES


def _configure_train(parser: ArgumentParser) -> None:
    known = settings_from()
    parser.add_argument("--recipe", default="default", help="a name of trainer/recipes.py")
    parser.add_argument("--schema", type=Path, required=True, help="the feature schema (TOML)")
    parser.add_argument("--log", default=known.log, help="the event log (default: FRESHET_LOG)")
    parser.add_argument("--examples", default=EXAMPLES, metavar="TOPIC", help="where the examples stand")
    parser.add_argument("--redis", default=known.redis, help="where versions are published (empty: nowhere)")
    parser.add_argument("--model", default="ads", help="the model's name in the store")
    parser.add_argument(
        "--table-rows", type=int, default=None, metavar="N", help="of each table (default: the recipe's)"
    )
    parser.add_argument("--starting-rows", default=None, metavar="FILE", help="first values of rows learnt elsewhere")
    parser.add_argument("--checkpoints", type=Path, default=Path(".freshet/checkpoints"))
    parser.add_argument("--checkpoint-seconds", type=float, default=30.0)
    parser.add_argument("--checkpoint-steps", type=int, default=0)
    parser.add_argument("--publish-seconds", type=float, default=1.0, help="between two versions")
    parser.add_argument("--tombstone-seconds", type=float, default=600.0, help="evicted rows stay marked in Redis")
    parser.add_argument("--row-encoding", choices=("fp32", "fp16", "int8"), default="fp32", help="rows on the wire")
    parser.add_argument("--resume", action="store_true", help="go on from the newest valid checkpoint")
    parser.add_argument("--promote", action="store_true", help="make a new generation live with its first version")
    parser.add_argument("--until-final", action="store_true", help="end with the stream (it ends there in any case)")
    parser.add_argument("--until-end", action="store_true", help="end at the present end of the log")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ready", type=Path, default=None, help="make this file when training begins")
    parser.add_argument("--summary", type=Path, default=None, help="write the account here as JSON, too")
    add_metrics_page(parser)


def _train(args: Namespace) -> Result:
    from trainer.train_run import train

    return train(args)


def _render_train(result: Result) -> str:
    return (
        f"{result['examples_trained']} examples, {result['examples_per_second']:.0f}/s; "
        f"normalized entropy {result['normalized_entropy']:.4f}, AUC {result['auc']:.4f}, "
        f"log loss {result['log_loss']:.4f} (base rate {result['base_rate_log_loss']:.4f}); "
        f"{result['versions_published']} versions; checkpoint {result['checkpoint']}"
    )


def _configure_evaluate(parser: ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument(
        "--recipe", action="append", metavar="R", help="a name of trainer/recipes.py; repeat to compare"
    )
    parser.add_argument("--schema", type=Path, default=None, help="in place of the data set's own")
    parser.add_argument("--starting-rows", default=None, metavar="FILE",
                        help="run each recipe with these first values of rows, too")  # fmt: skip
    parser.add_argument("--seeds", type=_numbers, default=(0,), metavar="1,2,3", help="first weights to try")
    parser.add_argument("--labels", choices=("instant", "delayed"), default="instant",
                        help="known at the impression, or heard of at their true delays")  # fmt: skip
    parser.add_argument("--window-seconds", type=float, default=None, metavar="S",
                        help="with delayed labels: how long a click is waited for "
                             f"(default: {CLICK_WINDOW_SECONDS:g})")  # fmt: skip
    parser.add_argument("--round-seconds", type=float, default=None, metavar="S",
                        help="of event time, for recipes that mix rounds (default: 600)")  # fmt: skip
    parser.add_argument("--out", type=Path, default=None, metavar="DIR", help="write a report with plots here")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _evaluate(args: Namespace) -> Result:
    from trainer.evaluate_run import run_evaluation

    return run_evaluation(args)


def _render_evaluate(result: Result) -> str:
    report = f"\nreport: {result['report']}" if "report" in result else ""
    differences = [f"{p['a']} - {p['b']}: {p['delta_ne']:+.5f} normalized entropy, 95 % {p['ci95'][0]:+.5f} to "
                   f"{p['ci95'][1]:+.5f}" for p in result["paired"] if p["delta_ne"] is not None]  # fmt: skip
    return "\n".join([result["table"], *differences]) + report


COMMANDS = [
    Command(name="train", help="Runs the continual trainer alone, until its stream ends or it is stopped.",
            examples=("freshet train --recipe default --schema ads.toml --log embedded:.freshet/log --resume",
                      "freshet train --recipe dcn --schema ads.toml --until-end --json"),
            configure=_configure_train, run=_train, render=_render_train),
    Command(name="evaluate", help="Progressive validation of recipes on the same examples in the same order.",
            examples=("freshet evaluate --data mind:DIR --recipe default --recipe dcn --seeds 1,2,3",
                      "freshet evaluate --data simulator:drift --limit 20000 --out report --json"),
            configure=_configure_evaluate, run=_evaluate, render=_render_evaluate),
]  # fmt: skip

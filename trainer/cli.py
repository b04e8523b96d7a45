"""`freshet train` and `freshet evaluate`."""

from __future__ import annotations

import json
import threading
import time
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from pathlib import Path

from streams.command import Command, Result, say
from streams.contract.errors import InputError
from streams.contract.schema import Schema, load_schema
from streams.contract.settings import settings_from
from streams.log import EventLog, open_log
from streams.row_store import open_row_store
from trainer.checkpoint import CheckpointConfig, CheckpointStore
from trainer.commit import PublishTarget
from trainer.learner import Learner
from trainer.loop import Trainer, TrainerConfig, TrainProgress, stopped_by_signals
from trainer.model.export import export_programs
from trainer.model.network import describe_network
from trainer.publish import PublishConfig, ThreadedPublisher
from trainer.recipes import recipe, recipe_names
from trainer.source import SourceConfig

_LAST_VERSION_SECONDS = 30.0


def _configure_train(parser: ArgumentParser) -> None:
    known = settings_from()
    parser.add_argument("--recipe", default="default", help=f"one of {', '.join(recipe_names())}")
    parser.add_argument("--schema", type=Path, required=True, help="the feature schema (TOML)")
    parser.add_argument("--log", default=known.log, help="the event log (default: FRESHET_LOG)")
    parser.add_argument("--redis", default=known.redis, help="where versions are published (empty: nowhere)")
    parser.add_argument("--model", default="ads", help="the model's name in the store")
    parser.add_argument("--checkpoints", type=Path, default=Path(".freshet/checkpoints"))
    parser.add_argument("--checkpoint-seconds", type=float, default=30.0)
    parser.add_argument("--checkpoint-steps", type=int, default=0)
    parser.add_argument("--publish-seconds", type=float, default=1.0, help="between two versions")
    parser.add_argument("--row-encoding", choices=("fp32", "fp16", "int8"), default="fp32", help="rows on the wire")
    parser.add_argument("--resume", action="store_true", help="go on from the newest valid checkpoint")
    parser.add_argument("--until-final", action="store_true", help="end with the stream (it ends there in any case)")
    parser.add_argument("--until-end", action="store_true", help="end at the present end of the log")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ready", type=Path, default=None, help="make this file when training begins")
    parser.add_argument("--summary", type=Path, default=None, help="write the account here as JSON, too")


def _train(args: Namespace) -> Result:
    if not args.log:
        raise InputError("no event log was named", field="log", remedy="give --log ADDRESS or set FRESHET_LOG")
    schema = load_schema(args.schema)
    learner = Learner(schema, recipe(args.recipe, seed=args.seed), device=args.device)
    stop = threading.Event()
    with ExitStack() as open_things:
        open_things.enter_context(stopped_by_signals(stop))
        log = open_log(args.log)
        open_things.callback(log.close)
        publisher = _publisher(args, log, learner, schema, open_things) if args.redis else None
        checkpoints = CheckpointStore(args.checkpoints)
        open_things.callback(checkpoints.close)
        trainer = Trainer(log, learner, checkpoints, _config(args), publisher=publisher, on_progress=_show, stop=stop)
        if args.resume:
            loaded = trainer.resume()
            for refused in loaded.refused:
                say(f"checkpoint {refused.name} is refused: {refused.reason}")
        if args.ready:
            args.ready.touch()
        progress = trainer.run()
        if publisher is not None:
            _publish_last(trainer, publisher)
        result = _result(progress, publisher)
    if args.summary:
        args.summary.write_text(json.dumps(result))
    return result


def _config(args: Namespace) -> TrainerConfig:
    return TrainerConfig(
        source=SourceConfig(until_end=args.until_end),
        checkpoint=CheckpointConfig(every_seconds=args.checkpoint_seconds, every_steps=args.checkpoint_steps),
    )


def _publisher(
    args: Namespace, log: EventLog, learner: Learner, schema: Schema, open_things: ExitStack
) -> ThreadedPublisher:
    store = open_row_store(args.redis, model=args.model)
    open_things.callback(store.close)
    target = PublishTarget(
        log=log, store=store, schema=schema, network=describe_network(learner.recipe.network),
        programs=export_programs(learner.network), recipe=learner.recipe.name, row_encoding=args.row_encoding,
        new_generation=not args.resume,
    )  # fmt: skip
    publisher = ThreadedPublisher(target, PublishConfig(interval_seconds=args.publish_seconds))
    open_things.callback(publisher.close)
    return publisher


def _publish_last(trainer: Trainer, publisher: ThreadedPublisher) -> None:
    """What was learnt since the last version becomes one more."""
    deadline = time.monotonic() + _LAST_VERSION_SECONDS
    step = trainer.progress().step
    publisher.wait_until_idle(_LAST_VERSION_SECONDS)
    while publisher.last_step() < step and time.monotonic() < deadline:
        if publisher.due():
            taken = trainer.offer()
            publisher.wait_until_idle(_LAST_VERSION_SECONDS)
            if not taken:
                return
        time.sleep(0.02)


def _show(progress: TrainProgress) -> None:
    window = progress.window
    say(
        f"step {progress.step}, {progress.examples} examples, {progress.examples_per_second:.0f}/s, "
        f"NE {window.normalized_entropy:.4f}, AUC {window.auc:.4f}, calibration {window.calibration:.3f}, "
        f"{progress.num_rows} rows, {progress.versions_taken} versions"
    )


def _result(progress: TrainProgress, publisher: ThreadedPublisher | None) -> Result:
    status = publisher.status() if publisher else None
    lifetime = progress.lifetime
    return {
        "examples_trained": progress.examples,
        "corrections": progress.num_corrections,
        "examples_per_second": progress.examples_per_second,
        "normalized_entropy": lifetime.normalized_entropy,
        "auc": lifetime.auc,
        "calibration": lifetime.calibration,
        "log_loss": lifetime.log_loss,
        "base_rate_log_loss": lifetime.base_rate_log_loss,
        "bayes_log_loss": lifetime.bayes_log_loss,
        "window": progress.window.as_dict(),
        "dead_letters": progress.num_dead_letters,
        "versions_published": status.num_published if status else 0,
        "versions_refused": progress.versions_refused,
        "refused_by_reason": status.refused if status else {},
        "checkpoint": progress.checkpoint,
        "offsets": progress.offsets,
    }


def _render_train(result: Result) -> str:
    return (
        f"{result['examples_trained']} examples, {result['examples_per_second']:.0f}/s; "
        f"normalized entropy {result['normalized_entropy']:.4f}, AUC {result['auc']:.4f}, "
        f"log loss {result['log_loss']:.4f} (base rate {result['base_rate_log_loss']:.4f}); "
        f"{result['versions_published']} versions; checkpoint {result['checkpoint']}"
    )


COMMANDS = [
    Command(name="train", help="Runs the continual trainer alone, until its stream ends or it is stopped.",
            examples=("freshet train --recipe default --schema ads.toml --log embedded:.freshet/log --resume",
                      "freshet train --recipe dcn --schema ads.toml --until-end --json"),
            configure=_configure_train, run=_train, render=_render_train),
]  # fmt: skip

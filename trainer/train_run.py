"""One run of the trainer from the command line's arguments: build, run, publish the last version, close."""

from __future__ import annotations

import json
import threading
from argparse import Namespace
from contextlib import ExitStack

from streams.checkpoints.store import CheckpointConfig, CheckpointStore
from streams.command import Result, say
from streams.contract.errors import InputError
from streams.contract.schema import Schema, load_schema
from streams.log.event_log import EventLog, open_log
from streams.metrics_page import open_page
from streams.outputs import check_files
from streams.stopping import stopped_by_signals
from streams.store.row_store import open_row_store
from streams.turns.source import SourceConfig
from streams.versions.commit import PublishTarget
from streams.versions.last_version import close_publisher, publish_last
from streams.versions.publish import PublishConfig, ThreadedPublisher
from streams.versions.retention import RetentionConfig
from trainer.future.live import continual_learner
from trainer.gate import gate
from trainer.learner import Learner
from trainer.loop import Trainer, TrainerConfig, TrainProgress
from trainer.metrics import TrainerMetrics
from trainer.model.export import export_programs
from trainer.model.network import describe_network
from trainer.recipes import RecipeConfig, check_trainable, recipe, with_starting_rows, with_table_rows


def train(args: Namespace) -> Result:
    """Trains as `args` say; returns the account. Raises InputError, UnavailableError, ConflictError."""
    if not args.log:
        raise InputError("no event log was named", field="log", remedy="give --log ADDRESS or set FRESHET_LOG")
    check_files(args, "ready", "summary")
    schema = load_schema(args.schema)
    learner = continual_learner(schema, _recipe(args), args.checkpoints / "rounds", device=args.device)
    stop = threading.Event()
    with ExitStack() as open_things:
        signalled = open_things.enter_context(stopped_by_signals(stop))
        log = open_log(args.log)
        open_things.callback(log.close)
        checkpoints = CheckpointStore(args.checkpoints)
        open_things.callback(checkpoints.close)
        goes_on = args.resume and bool(checkpoints.names())
        publisher = _publisher(args, log, learner, schema, goes_on, open_things) if args.redis else None
        if publisher is not None:
            open_things.callback(close_publisher, publisher, signalled)
        metrics = TrainerMetrics(publisher.status if publisher else None)
        open_things.enter_context(open_page(args.metrics_host, args.metrics_port, metrics.samples, metrics.degraded))

        def on_progress(progress: TrainProgress) -> None:
            metrics.took(progress)
            _show(progress)

        trainer = Trainer(
            log, learner, checkpoints, _config(args), publisher=publisher, on_progress=on_progress, stop=stop
        )
        if args.resume:
            loaded = trainer.resume()
            for refused in loaded.refused:
                say(f"checkpoint {refused.name} is refused: {refused.reason}")
            if loaded.refused and loaded.content is None:
                raise InputError("holds no checkpoint that can be read", field="checkpoints",
                                 value=str(args.checkpoints),
                                 remedy="move the folder away to train anew from the log")  # fmt: skip
        if args.ready:
            args.ready.touch()
        progress = trainer.run()
        if publisher is not None:
            publish_last(progress.step, trainer.offer, publisher, signalled)
        result = _result(progress, publisher)
    if args.summary:
        args.summary.write_text(json.dumps(result))
    return result


def _recipe(args: Namespace) -> RecipeConfig:
    named = recipe(args.recipe, seed=args.seed)
    check_trainable(named)
    if args.starting_rows is not None:
        named = with_starting_rows(named, args.starting_rows)
    return named if args.table_rows is None else with_table_rows(named, args.table_rows)


def _config(args: Namespace) -> TrainerConfig:
    return TrainerConfig(
        source=SourceConfig(topic=args.examples, until_end=args.until_end),
        checkpoint=CheckpointConfig(every_seconds=args.checkpoint_seconds, every_steps=args.checkpoint_steps),
    )


def _publisher(
    args: Namespace, log: EventLog, learner: Learner, schema: Schema, goes_on: bool, open_things: ExitStack
) -> ThreadedPublisher:
    retention = RetentionConfig(tombstone_seconds=args.tombstone_seconds)
    config = PublishConfig(interval_seconds=args.publish_seconds, retention=retention)
    store = open_row_store(args.redis, model=args.model)
    open_things.callback(store.close)
    target = PublishTarget(
        log=log, store=store, schema=schema, network=describe_network(learner.recipe.network),
        programs=export_programs(learner.network), recipe=learner.recipe.name, row_encoding=args.row_encoding,
        new_generation=not goes_on, promote=args.promote,
    )  # fmt: skip
    return ThreadedPublisher(target, gate(), config)


def _show(progress: TrainProgress) -> None:
    window = progress.window
    say(
        f"step {progress.step}, {progress.examples} examples, {progress.examples_per_second:.0f}/s, "
        f"NE {window.normalized_entropy:.4f}, AUC {window.auc:.4f}, calibration {window.calibration:.3f}, "
        f"{_calibrated(progress)}{progress.num_rows} rows, {progress.versions_taken} versions"
    )


def _calibrated(progress: TrainProgress) -> str:
    """What the calibration does, where there is one that has seen something."""
    if "calibration_error" not in progress.calibrated:
        return ""
    scores = progress.calibrated
    return f"calibration error {scores['calibration_error_before']:.5f} to {scores['calibration_error']:.5f}, "


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
        "calibrated": progress.calibrated,
        "click_delay": progress.click_delay,
        "dead_letters": progress.num_dead_letters,
        "versions_published": status.num_published if status else 0,
        "versions_refused": progress.versions_refused,
        "refused_by_reason": status.refused if status else {},
        "checkpoint": progress.checkpoint,
        "offsets": progress.offsets,
    }

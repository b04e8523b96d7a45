"""One run of the continual learner from the command line's arguments: build, run, publish the last version, close."""

from __future__ import annotations

import json
import threading
from argparse import Namespace
from contextlib import ExitStack

import torch

from llm_rec.live.config import LearnConfig
from llm_rec.live.gate import recommender_gate
from llm_rec.live.learner import LiveLearner
from llm_rec.live.loop import LearnLoop, LearnProgress, LoopConfig
from llm_rec.live.metrics import LearnMetrics
from llm_rec.live.offering import Offering
from llm_rec.live.target import publish_target
from llm_rec.model_folder import identity_of, read_model
from streams.checkpoints.store import CheckpointConfig, CheckpointStore
from streams.cli import log_of
from streams.command import Result, say
from streams.contract.errors import InputError
from streams.contract.recommend_wire import RECOMMENDER
from streams.log.event_log import EventLog
from streams.metrics_page import open_page
from streams.outputs import check_files
from streams.stopping import stopped_by_signals
from streams.store.row_store import open_row_store
from streams.turns.source import SourceConfig
from streams.versions.last_version import close_publisher, publish_last
from streams.versions.publish import PublishConfig, ThreadedPublisher
from streams.versions.retention import RetentionConfig


def learn(args: Namespace) -> Result:
    """Learns as `args` say; returns the account. Raises InputError, NotFoundError, FormatError, ConflictError."""
    check_files(args, "ready", "summary")
    config = LearnConfig(
        learning=args.learning, rate=args.rate, most_users=args.most_users, most_items=args.most_items,
        window=args.window, text_columns=tuple(args.text_column or ()),
    )  # fmt: skip
    loop_config = _loop_config(args, config)
    # Before the model is read: what the map from texts comes to depends on it in its last bits.
    torch.set_num_threads(loop_config.threads)
    learner = LiveLearner(read_model(args.folder), config)
    stop = threading.Event()
    with ExitStack() as open_things:
        signalled = open_things.enter_context(stopped_by_signals(stop))
        log = log_of(args)
        open_things.callback(log.close)
        checkpoints = CheckpointStore(args.checkpoints)
        open_things.callback(checkpoints.close)
        loop = LearnLoop(log, learner, checkpoints, loop_config, model=identity_of(args.folder), stop=stop)
        goes_on = args.resume and bool(checkpoints.names())
        if args.resume:
            _resume(loop, args)
        publisher = _publisher(args, log, learner, loop, goes_on, open_things) if args.redis else None
        if publisher is not None:
            open_things.callback(close_publisher, publisher, signalled)
        metrics = LearnMetrics(publisher.status if publisher else None)
        open_things.enter_context(open_page(args.metrics_host, args.metrics_port, metrics.samples, metrics.degraded))
        if args.ready:
            args.ready.touch()

        def on_progress(progress: LearnProgress) -> None:
            metrics.took(progress)
            _show(progress)

        progress = loop.run(on_progress)
        if publisher is not None:
            publish_last(progress.step, loop.offer, publisher, signalled)
        result = _result(loop.progress(), publisher)
    if args.summary:
        args.summary.write_text(json.dumps(result))
    return result


def _loop_config(args: Namespace, config: LearnConfig) -> LoopConfig:
    return LoopConfig(
        source=SourceConfig(
            topic=args.examples, kind=args.kind, batch_size=config.batch_size, until_end=args.until_end
        ),
        checkpoint=CheckpointConfig(every_seconds=args.checkpoint_seconds, every_steps=args.checkpoint_steps),
    )


def _resume(loop: LearnLoop, args: Namespace) -> None:
    loaded = loop.resume()
    for refused in loaded.refused:
        say(f"checkpoint {refused.name} is refused: {refused.reason}")
    if loaded.refused and loaded.content is None:
        raise InputError("holds no checkpoint that can be read", field="checkpoints", value=str(args.checkpoints),
                         remedy="move the folder away to learn anew from the log")  # fmt: skip


def _publisher(
    args: Namespace, log: EventLog, learner: LiveLearner, loop: LearnLoop, goes_on: bool, open_things: ExitStack
) -> ThreadedPublisher:
    retention = RetentionConfig(tombstone_seconds=args.tombstone_seconds)
    config = PublishConfig(interval_seconds=args.publish_seconds, retention=retention)
    store = open_row_store(args.redis, model=RECOMMENDER)
    open_things.callback(store.close)
    target, catalogue_items = publish_target(
        learner, log, store, new_generation=args.new_generation or not goes_on, promote=args.promote
    )
    publisher = ThreadedPublisher(target, recommender_gate(learner.progressive.newest), config)
    loop.publish_through(Offering(learner, publisher, args.examples, catalogue_items=catalogue_items))
    return publisher


def _show(progress: LearnProgress) -> None:
    window = progress.window
    say(
        f"step {progress.step}, {progress.examples} examples, {progress.likes} likes, "
        f"{progress.likes_per_second:.0f}/s, NDCG@100 {window['ndcg_at_100']:.4f}, "
        f"log loss {window['log_loss']:.4f} (popularity {window['base_log_loss']:.4f}), "
        f"{progress.users} users, {progress.items} items, {progress.versions_taken} versions"
    )


def _result(progress: LearnProgress, publisher: ThreadedPublisher | None) -> Result:
    status = publisher.status() if publisher else None
    return {
        "likes_learnt": progress.likes,
        "examples_read": progress.examples,
        "likes_per_second": progress.likes_per_second,
        **progress.lifetime,
        "window": progress.window,
        "users": progress.users,
        "items": progress.items,
        "new_users": progress.new_users,
        "new_items": progress.new_items,
        "items_left_out": progress.items_left_out,
        "undecodable": progress.undecodable,
        "versions_published": status.num_published if status else 0,
        "versions_refused": progress.versions_refused,
        "refused_by_reason": status.refused if status else {},
        "generation": status.generation if status else None,
        "checkpoint": progress.checkpoint,
        "offsets": progress.offsets,
    }

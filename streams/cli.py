"""`freshet replay` and `freshet join`."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser, Namespace
from contextlib import AbstractContextManager
from pathlib import Path

from streams.command import Command, Result
from streams.contract.errors import InputError
from streams.contract.settings import settings_from
from streams.datasets.options import DatasetOptions
from streams.join.config import CLICK_WINDOW_SECONDS
from streams.join.joiner import Joiner, JoinerConfig
from streams.join.metrics import join_samples
from streams.join.options import add_horizons, add_windows, join_config
from streams.join.partition import JoinTopics
from streams.log.event_log import EVENTS, EXAMPLES, EventLog, open_log
from streams.metrics_page import open_page
from streams.replay import LogSink, ReplayConfig, open_recording, replay


def add_log(parser: ArgumentParser) -> None:
    """The --log option, by default what FRESHET_LOG says."""
    parser.add_argument("--log", default=settings_from().log, metavar="ADDRESS",
                        help="embedded:DIR or kafka://HOST:PORT (default: FRESHET_LOG)")  # fmt: skip


def log_of(args: Namespace) -> EventLog:
    """The log that --log or FRESHET_LOG names. Raises InputError where neither does."""
    if not args.log:
        raise InputError("no event log was named", field="log", remedy="give --log ADDRESS or set FRESHET_LOG")
    return open_log(args.log)


def add_data(parser: ArgumentParser) -> None:
    """The options of a data set."""
    parser.add_argument("--data", required=True, metavar="FORMAT:PATH", help="the data set")
    parser.add_argument("--limit", type=int, default=None, metavar="N", help="N impressions at most")
    parser.add_argument("--negatives", choices=("uniform", "popularity"), default="uniform",
                        help="how negatives are drawn for logs of clicks alone")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-bad-lines", type=int, default=0, metavar="N", help="malformed lines to skip")


def data_options(args: Namespace) -> DatasetOptions:
    """What `add_data` gathered."""
    return DatasetOptions(seed=args.seed, max_impressions=args.limit, max_bad_lines=args.max_bad_lines,
                          negatives=args.negatives)  # fmt: skip


def add_metrics_page(parser: ArgumentParser) -> None:
    """The options of a worker's metrics page."""
    parser.add_argument("--metrics-port", type=int, default=None, metavar="PORT",
                        help="serve /metrics and /healthz there (0: a free port; left out: nowhere)")  # fmt: skip
    parser.add_argument("--metrics-host", default="127.0.0.1", help="whoever reaches it may read the metrics")


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set, so that a worker ends between two steps."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _configure_replay(parser: ArgumentParser) -> None:
    add_log(parser)
    add_data(parser)
    parser.add_argument("--speed", type=float, default=None, metavar="X", help="X times the data's own pace")
    parser.add_argument("--topic", default=EVENTS)
    parser.add_argument("--partitions", type=int, default=2, help="of the topic, where it is made now")
    parser.add_argument("--no-final", action="store_true", help="do not end the stream: others go on writing")


def _replay(args: Namespace) -> Result:
    log = log_of(args)
    try:
        recording = open_recording(args.data, data_options(args))
        log.create_topic(args.topic, args.partitions)
        config = ReplayConfig(speed=args.speed, final_tick=not args.no_final)
        counts = replay(recording.events, LogSink(log, args.topic), config)
    finally:
        log.close()
    return {"events": counts.events, "impressions": counts.impressions, "feedback": counts.feedback,
            "bad_lines": recording.bad_lines.count, "seconds": counts.seconds}  # fmt: skip


def _configure_join(parser: ArgumentParser) -> None:
    add_log(parser)
    parser.add_argument("--state", type=Path, default=None, metavar="DIR", help="where the join keeps its state")
    parser.add_argument("--positives", choices=("at-once", "at-close"), default="at-close",
                        help="a click is learnt as it comes, or when its impression's window closes")  # fmt: skip
    parser.add_argument(
        "--partitions", type=_numbers, metavar="0,1", help="the partitions of this joiner (default: all)"
    )
    parser.add_argument("--tick-seconds", type=float, default=None, help="a tick where a partition had none so long")
    parser.add_argument("--max-records", type=int, default=2000, metavar="N", help="records of one transaction at most")
    parser.add_argument("--clock", choices=("data", "wall"), default="data", help="what event times are")
    parser.add_argument("--group", default="join", help="whose offsets these are; another group joins anew")
    parser.add_argument("--examples", default=EXAMPLES, metavar="TOPIC", help="where examples go: one topic a group")
    add_windows(parser, CLICK_WINDOW_SECONDS)
    add_horizons(parser)
    add_metrics_page(parser)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _join(args: Namespace) -> Result:
    config = JoinerConfig(
        state_dir=args.state, join=join_config(args, CLICK_WINDOW_SECONDS),
        topics=JoinTopics(examples=args.examples, group=args.group), partitions=args.partitions,
        max_records=args.max_records, tick_seconds=args.tick_seconds, clock=args.clock,
    )  # fmt: skip
    log = log_of(args)
    try:
        joiner = Joiner(log, config)
        try:
            with _page_of(joiner, args):
                joiner.run(stop_on_signals())
            return joiner.stats.as_dict()
        finally:
            joiner.close()
    finally:
        log.close()


def _page_of(joiner: Joiner, args: Namespace) -> AbstractContextManager[object]:
    def degraded() -> list[str]:
        return [joiner.trouble] if joiner.trouble else []

    return open_page(args.metrics_host, args.metrics_port, lambda: join_samples(joiner.measured), degraded)


COMMANDS = [
    Command(name="replay", help="Sends a recorded log as events.",
            examples=("freshet replay --data mind:DIR --log embedded:.freshet/log",
                      "freshet replay --data jsonl:events.jsonl --log kafka://localhost:9092 --speed 60"),
            configure=_configure_replay, run=_replay,
            render=lambda r: f"{r['events']} events in {r['seconds']:.1f} s, {r['bad_lines']} bad lines"),
    Command(name="join", help="Joins impressions with their feedback into labelled examples, until stopped.",
            examples=("freshet join --log embedded:.freshet/log --state .freshet/join",
                      "freshet join --log kafka://HOST:9092 --state DIR --window click=1800 --window conversion=604800",
                      "freshet join --log embedded:.freshet/log --state .freshet/join --metrics-port 9101"),
            configure=_configure_join, run=_join, render=str),
]  # fmt: skip

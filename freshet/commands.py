"""The umbrella's own commands: demo, up, down, status, doctor, bench."""

from __future__ import annotations

import importlib
import sys
import tempfile
import webbrowser
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from freshet.doctor import run_checks
from freshet.first_version import FirstVersionConfig
from freshet.health import health_of
from freshet.inputs import check_inputs
from freshet.processes import interrupt_on_terminate
from freshet.running import runs, stop_process
from freshet.stack import Stack, StackConfig, load_state, save_state
from freshet.traffic import TrafficConfig
from serving.scorer.config import PRECISIONS
from streams.command import Command, Result, say, table
from streams.contract.errors import InputError
from streams.contract.settings import settings_from
from streams.datasets.options import DatasetOptions
from streams.datasets.registry import open_dataset, schema_path
from streams.join.config import CLICK_WINDOW_SECONDS, milliseconds
from streams.join.options import add_windows, windows_of
from streams.replay import in_time_order

_LONGEST_WINDOW_WAITED_FOR_SECONDS = 10.0

BENCHES = (
    "serve", "train", "publish", "soak", "future", "overheads", "learn", "recommend", "recommend-pass",
    "recommend-serve", "blend",
)  # fmt: skip


def _add_addresses(parser: ArgumentParser) -> None:
    known = settings_from()
    parser.add_argument("--log", default=known.log, metavar="ADDRESS", help="embedded:DIR or kafka://HOST:PORT")
    parser.add_argument("--redis", default=known.redis, metavar="ADDRESS", help="redis://HOST:PORT[,HOST:PORT]")
    parser.add_argument("--triton", default=known.triton, metavar="ADDRESS", help="http://HOST:PORT")
    parser.add_argument("--recommender", type=Path, default=None, metavar="DIR",
                        help="serve the recommender of this folder, too (see `freshet recommender train`)")  # fmt: skip
    parser.add_argument("--recipe", default="default", help="the training recipe")
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0],
                        help="of the scorer's wide layers; bfloat16 differs by about 1e-3")  # fmt: skip
    parser.add_argument("--port", type=int, default=0, help="the gateway's port (0: a free one)")


def _configure_demo(parser: ArgumentParser) -> None:
    _add_addresses(parser)
    parser.add_argument("--data", default="simulator:small", metavar="FORMAT:PATH", help="what to replay")
    parser.add_argument("--events", type=int, default=0, metavar="N", help="stop after N events (0: all)")
    parser.add_argument("--clients", type=int, default=8, help="requests in flight")
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second at most (0: no limit)")
    parser.add_argument("--window-seconds", type=float, default=1.0, help="how long an impression waits for a click")
    parser.add_argument(
        "--positives", choices=("at-once", "at-close"), default="at-close", help="when clicks are learnt"
    )
    parser.add_argument("--negatives", choices=("uniform", "popularity"), default="uniform")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-bad-lines", type=int, default=0)
    parser.add_argument("--dir", type=Path, default=None, help="keep everything here (default: a temporary folder)")
    parser.add_argument("--no-wait", action="store_true", help="do not pause the traffic until a first version serves")
    parser.add_argument("--no-open", action="store_true", help="do not open the console in a browser")


def _demo(args: Namespace) -> Result:
    from freshet.demo import DemoConfig, render_demo, run_demo

    traffic = TrafficConfig(clients=args.clients, rate_per_second=args.rate, first_version=_first_version(args))
    config = DemoConfig(num_events=args.events, traffic=traffic)
    milliseconds("window-seconds", args.window_seconds, least=1)
    options = DatasetOptions(seed=args.seed, max_bad_lines=args.max_bad_lines, negatives=args.negatives)
    dataset = open_dataset(args.data, options)
    schema = schema_path(args.data)
    if schema is None:
        raise InputError("has no schema of its own", field="data", value=args.data,
                         remedy="use `freshet up --schema FILE` and `freshet replay`")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="freshet-demo-") as temporary:
        folder = args.dir or Path(temporary)
        stack = Stack(StackConfig(
            folder=folder, schema=schema, log=args.log, redis=args.redis, triton=args.triton, port=args.port,
            recipe=args.recipe, precision=args.precision, window_seconds=args.window_seconds, exit_at_end=True,
            positives=args.positives, recommender=_folder(args.recommender),
        ))  # fmt: skip
        interrupt_on_terminate()
        check_inputs(stack.config)
        try:
            stack.start(say)
            say(f"console: {stack.gateway_url}/   docs: {stack.gateway_url}/docs")
            if not args.no_open and sys.stdout.isatty():
                webbrowser.open(stack.gateway_url)
            result = run_demo(stack, in_time_order(dataset), config, say)
            if sys.stdout.isatty() and sys.stdin.isatty() and not args.json:
                say(render_demo(result))
                input("\nEverything still runs; press Enter to stop it. ")
        finally:
            stack.stop()
    return result


def _first_version(args: Namespace) -> FirstVersionConfig | None:
    """When the demo's traffic waits for a version: never where labels alone take long to settle, or if told not to."""
    if args.no_wait or args.window_seconds > _LONGEST_WINDOW_WAITED_FOR_SECONDS:
        return None
    return FirstVersionConfig(patience_seconds=args.window_seconds + 5)


def _folder(given: Path | None) -> Path | None:
    """The same folder for processes that run elsewhere."""
    return None if given is None else given.absolute()


def _render_demo(result: Result) -> str:
    from freshet.demo import render_demo

    return render_demo(result)


def _configure_up(parser: ArgumentParser) -> None:
    _add_addresses(parser)
    parser.add_argument("--schema", type=Path, required=True, help="the feature schema (TOML)")
    parser.add_argument("--dir", type=Path, default=Path(".freshet"), help="where logs and state are kept")
    add_windows(parser, CLICK_WINDOW_SECONDS)
    parser.add_argument("--partitions", type=int, default=2)


def _up(args: Namespace) -> Result:
    state_path = args.dir / "services.json"
    if state_path.exists() and any(service["running"] for service in _services(args.dir)):
        raise InputError("already runs from here", field="dir", value=str(args.dir), remedy="run `freshet down` first")
    stack = Stack(StackConfig(
        folder=args.dir.absolute(), schema=args.schema.absolute(), log=args.log, redis=args.redis, triton=args.triton,
        port=args.port, recipe=args.recipe, precision=args.precision, windows_ms=windows_of(args, CLICK_WINDOW_SECONDS),
        num_partitions=args.partitions, detached=True, recommender=_folder(args.recommender),
    ))  # fmt: skip
    interrupt_on_terminate()
    check_inputs(stack.config)
    stack.start(say)
    save_state(stack, state_path)
    return _status(args)


def _configure_dir(parser: ArgumentParser) -> None:
    parser.add_argument("--dir", type=Path, default=Path(".freshet"), help="the folder given to `up`")


def _services(folder: Path) -> list[dict[str, Any]]:
    services = load_state(folder / "services.json")["services"]
    assert isinstance(services, list)
    return [{**service, "running": runs(service["pid"], service.get("identity", ""))} for service in services]


def _status(args: Namespace) -> Result:
    state = load_state(args.dir / "services.json")
    addresses = state["addresses"]
    assert isinstance(addresses, dict)
    services = [
        {**service, "health": health_of(service["name"], service["running"], addresses, service.get("metrics", ""))}
        for service in _services(args.dir)
    ]
    return {"services": services, "addresses": addresses}


def _render_status(result: Result) -> str:
    rows = [("service", "health", "pid", "metrics", "output")]
    rows += [(s["name"], s["health"], str(s["pid"]), s.get("metrics", ""), s["log"]) for s in result["services"]]
    addresses = [f"{name}: {address}" for name, address in result["addresses"].items()]
    return "\n".join([table(rows), "", *addresses])


def _down(args: Namespace) -> Result:
    stopped = [{**service, "stopped": stop_process(service["pid"], service.get("identity", ""))}
               for service in reversed(_services(args.dir))]  # fmt: skip
    (args.dir / "services.json").unlink()
    return {"services": stopped}


def _render_down(result: Result) -> str:
    told = {True: "stopped", False: "had ended:"}
    return "\n".join(f"{told[service['stopped']]} {service['name']}" for service in result["services"])


def _doctor(args: Namespace) -> Result:
    return {"checks": run_checks(args.dir)}


def _render_doctor(result: Result) -> str:
    lines = []
    for check in result["checks"]:
        lines.append(f"{'ok  ' if check['ok'] else 'MISS'}  {check['name']}: {check['found']}")
        if not check["ok"]:
            lines.append(f"      needed for {check['needed_for']}: {check['remedy']}")
    return "\n".join(lines)


def _configure_bench(parser: ArgumentParser) -> None:
    parser.add_argument("name", choices=BENCHES, help="what to measure")
    parser.add_argument("--quick", action="store_true", help="fewer points and repeats: a look, not a figure")


def _bench(args: Namespace) -> Result:
    try:
        module = importlib.import_module(f"bench.{args.name.replace('-', '_')}")
    except ModuleNotFoundError as error:
        raise InputError("is not here", field="bench", value=str(error), remedy="run it from a checkout") from error
    result: Result = module.run(quick=args.quick)
    return result


def _render_json(result: Result) -> str:
    import json

    return json.dumps(result, indent=2)


COMMANDS = [
    Command(name="demo", help="Runs the main job on a recorded or simulated log and gives the account.",
            examples=("freshet demo", "freshet demo --data mind:../shared/data/mind --json",
                      "freshet demo --data globo:DIR --events 200000 --log kafka://localhost:9092"),
            configure=_configure_demo, run=_demo, render=_render_demo),
    Command(name="up", help="Starts the same services, long-lived.",
            examples=("freshet up --schema ads.toml", "freshet up --schema ads.toml --redis redis://cache:6379"),
            configure=_configure_up, run=_up, render=_render_status),
    Command(name="down", help="Stops what `up` started.", examples=("freshet down",),
            configure=_configure_dir, run=_down,
            render=_render_down),
    Command(name="status", help="Shows each service with its address and health.", examples=("freshet status --json",),
            configure=_configure_dir, run=_status, render=_render_status),
    Command(name="doctor", help="Checks ports, versions, servers, disk and clock, and says what to do.",
            examples=("freshet doctor",), configure=_configure_dir, run=_doctor, render=_render_doctor),
    Command(name="bench", help="Runs one of the measurements in bench/.",
            examples=("freshet bench serve --json", "freshet bench train --quick"),
            configure=_configure_bench, run=_bench, render=_render_json),
]  # fmt: skip

"""The umbrella command `freshet`: every package's commands under one name.

Exit codes: 0 success, 2 a usage or input error (the message names field, value, remedy), 1 a failure.
With --json the result is one JSON object on the last line of standard output.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import json
import logging
import math
import os
import re
import sys
from typing import Any, NoReturn

from streams.command import Command, Result
from streams.contract.errors import FreshetError, InputError

COMMAND_MODULES = ("freshet.commands", "streams.cli", "trainer.cli", "serving.cli", "llm_rec.cli")


def main(argv: list[str] | None = None) -> int:
    """Parses, runs, prints; returns the exit code."""
    parser = build_parser()
    try:
        args = parser.parse_args(argv)
    except InputError as error:
        return _report(error, as_json="--json" in (sys.argv if argv is None else argv))
    _log_to_stderr()
    # The interpreter's last collection walks all that torch brought, for a second and more, to free what ends anyway.
    atexit.register(gc.freeze)
    command: Command = args.command
    try:
        result = command.run(args)
    except FreshetError as error:
        return _report(error, as_json=args.json)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    _print(result, command, as_json=args.json)
    return 0


def _log_to_stderr() -> None:
    """Our own loggers from INFO on, libraries from WARNING on."""
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s"
    )
    for package in ("streams", "trainer", "serving", "llm_rec", "freshet"):
        logging.getLogger(package).setLevel(logging.INFO)


class _Parser(argparse.ArgumentParser):
    """Tells a usage error as every other error is told."""

    def error(self, message: str) -> NoReturn:
        found = re.fullmatch(r"argument (?:[^:]*/)?(?:--)?([^:/]+): (.*)", message, re.DOTALL)
        field, told = found.groups() if found else (None, message)
        raise InputError(told, field=field, remedy=f"see `{self.prog} --help`")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; one of two words is a command of the group that the first names."""
    parser = _Parser(
        prog="freshet",
        description="Online serving and continual training for ad-click scoring.",
        epilog="Start with: freshet demo",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    groups: dict[str, Any] = {}
    for command in all_commands():
        group, _, name = command.name.rpartition(" ")
        if group and group not in groups:
            groups[group] = commands.add_parser(group, help=f"See `freshet {group} --help`.").add_subparsers(
                title="commands", metavar="COMMAND", required=True
            )
        sub = groups.get(group, commands).add_parser(
            name,
            help=command.help,
            description=command.help,
            epilog="examples:\n" + "\n".join(f"  {example}" for example in command.examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.add_argument("--json", action="store_true", help="one JSON object on the last line of standard output")
        command.configure(sub)
        sub.set_defaults(command=command)
    return parser


def all_commands() -> list[Command]:
    """Every package's commands, in the order in which the help shows them."""
    return [command for name in COMMAND_MODULES for command in importlib.import_module(name).COMMANDS]


def _print(result: Result, command: Command, *, as_json: bool) -> None:
    text = json.dumps(_finite(result)) if as_json else command.render(result)
    if text:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def _finite(value: Any) -> Any:
    """JSON has no NaN: what could not be measured is null."""
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _report(error: FreshetError, *, as_json: bool) -> int:
    sys.stderr.write(f"freshet: {error}\n")
    if as_json:
        sys.stdout.write(json.dumps({"error": error.as_dict()}) + "\n")
    return error.exit_code

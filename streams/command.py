"""One command of the umbrella: what a package's `cli` module offers, and `freshet` assembles."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Result = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command: its arguments, what it does (returning what `--json` prints), and how a person reads that."""

    name: str
    help: str
    examples: tuple[str, ...]
    configure: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], Result]
    render: Callable[[Result], str]


def say(message: str) -> None:
    """Progress, on standard error: standard output belongs to the result."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as aligned text columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                     for row in rows)  # fmt: skip

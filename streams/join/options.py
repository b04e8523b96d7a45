"""The join's windows and horizons as options of a command."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from streams.contract.errors import InputError
from streams.join.config import JoinConfig, milliseconds, parse_windows


def add_windows(parser: ArgumentParser, default_seconds: float) -> None:
    """How long impressions wait, for `windows_of`."""
    parser.add_argument("--window-seconds", type=float, default=None, metavar="S",
                        help=f"how long an impression waits for a click (default: {default_seconds:g})")  # fmt: skip
    parser.add_argument("--window", action="append", metavar="KIND=S", help=(
        "how long it waits for feedback of this kind; repeat it, in place of --window-seconds"))  # fmt: skip


def windows_of(args: Namespace, default_seconds: float) -> dict[str, int]:
    """Kind -> milliseconds, 1 at least. Raises InputError where both options were given, or one is no window."""
    if not args.window:
        seconds = default_seconds if args.window_seconds is None else args.window_seconds
        return {"click": milliseconds("window-seconds", seconds, least=1)}
    if args.window_seconds is not None:
        raise InputError("does not go together with --window", field="window-seconds", value=args.window_seconds,
                         remedy=f"give --window click={args.window_seconds:g} instead")  # fmt: skip
    return parse_windows(args.window)


def add_horizons(parser: ArgumentParser) -> None:
    """How long things are remembered, and how much of them in memory, for `join_config`."""
    known = JoinConfig()
    parser.add_argument("--correction-seconds", type=float, default=known.correction_horizon_ms / 1000, metavar="S",
                        help="late feedback is taken so long after the longest window")  # fmt: skip
    parser.add_argument("--hold-seconds", type=float, default=None, metavar="S",
                        help="feedback waits so long for its impression (default: as for corrections)")  # fmt: skip
    parser.add_argument("--dedup-seconds", type=float, default=None, metavar="S",
                        help="how long ids are remembered (default: as long as impressions)")  # fmt: skip
    parser.add_argument("--max-held", type=int, default=known.max_held, metavar="N", help="feedback that waits at most")
    parser.add_argument("--cached-bytes", type=int, default=known.cached_bytes, metavar="N",
                        help="encoded impressions kept in memory, a partition")  # fmt: skip


def join_config(args: Namespace, default_seconds: float) -> JoinConfig:
    """What `add_windows`, `add_horizons` and --positives gathered. Raises InputError naming the option."""

    def horizon_ms(name: str) -> int | None:
        seconds = getattr(args, f"{name}_seconds")
        return None if seconds is None else milliseconds(f"{name}-seconds", seconds)

    return JoinConfig(
        windows_ms=windows_of(args, default_seconds),
        emit_positives_at_once=args.positives == "at-once",
        correction_horizon_ms=milliseconds("correction-seconds", args.correction_seconds),
        hold_horizon_ms=horizon_ms("hold"),
        dedup_horizon_ms=horizon_ms("dedup"),
        max_held=args.max_held,
        cached_bytes=args.cached_bytes,
    )

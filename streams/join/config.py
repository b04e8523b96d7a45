"""How impressions wait for their feedback; all times are on the data's clock."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from streams.contract.errors import InputError

CLICK_WINDOW_SECONDS = 60.0
"""How long an impression waits for its click unless told otherwise; what comes later is a correction."""
_DAY_MS = 86_400_000
_LONGEST_MS = 100 * 365 * _DAY_MS
_MOST_KINDS = 255


@dataclass(frozen=True, kw_only=True)
class JoinConfig:
    """Windows and horizons of the join.

    An impression waits `windows_ms[kind]` for feedback of each kind; it is remembered
    `correction_horizon_ms` longer than its longest window, so that late feedback becomes a
    correction. Feedback that comes before its impression waits `hold_horizon_ms` (None: as long as
    the correction horizon), at most `max_held` of them. Ids are remembered `dedup_horizon_ms`
    (None: as long as impressions), never less than impressions are. Decoded impressions of open
    windows stay in memory up to `cached_bytes` of their encoded size; the rest is read from disk.

    Raises InputError where a value makes no sense.
    """

    windows_ms: Mapping[str, int] = field(default_factory=lambda: {"click": int(1000 * CLICK_WINDOW_SECONDS)})
    emit_positives_at_once: bool = True
    correction_horizon_ms: int = _DAY_MS
    hold_horizon_ms: int | None = None
    dedup_horizon_ms: int | None = None
    max_held: int = 100_000
    cached_bytes: int = 64 << 20

    # derived, as they are asked for with every event
    kinds: tuple[str, ...] = field(init=False)
    remember_ms: int = field(init=False)
    hold_ms: int = field(init=False)
    dedup_ms: int = field(init=False)

    def __post_init__(self) -> None:
        if not 0 < len(self.windows_ms) <= _MOST_KINDS:
            raise InputError("names no kind of feedback, or too many", field="windows_ms", value=dict(self.windows_ms),
                             remedy=f"give 1 to {_MOST_KINDS} kinds, such as click = 60000")  # fmt: skip
        for kind, window_ms in self.windows_ms.items():
            _check_duration(f"windows_ms.{kind}", window_ms, least_ms=1)
        _check_duration("correction_horizon_ms", self.correction_horizon_ms)
        object.__setattr__(self, "kinds", tuple(sorted(self.windows_ms)))
        object.__setattr__(self, "remember_ms", max(self.windows_ms.values()) + self.correction_horizon_ms)
        object.__setattr__(self, "hold_ms", _or(self.hold_horizon_ms, self.correction_horizon_ms))
        object.__setattr__(self, "dedup_ms", _or(self.dedup_horizon_ms, self.remember_ms))
        _check_duration("hold_horizon_ms", self.hold_ms)
        _check_duration("dedup_horizon_ms", self.dedup_ms, least_ms=self.remember_ms)
        for name in ("max_held", "cached_bytes"):
            if getattr(self, name) < 0:
                raise InputError("is negative", field=name, value=getattr(self, name), remedy="use 0 or more")

    def window_ms(self, kind: str) -> int:
        """The window of a kind that is configured."""
        return self.windows_ms[kind]

    @property
    def windows_text(self) -> str:
        """What decides which example is emitted when, as text: states and outputs of another text don't mix."""
        return json.dumps({"windows_ms": dict(sorted(self.windows_ms.items())), "at_once": self.emit_positives_at_once})


def parse_windows(texts: Iterable[str]) -> dict[str, int]:
    """`KIND=SECONDS` texts as `windows_ms`. Raises InputError where one is none, or a kind is named twice."""
    windows_ms: dict[str, int] = {}
    for text in texts:
        kind, _, seconds = text.rpartition("=")
        if not kind or kind in windows_ms:
            why = "names its kind of feedback twice" if kind else "names no kind of feedback"
            raise InputError(why, field="window", value=text, remedy="give each kind once, such as click=60")
        windows_ms[kind] = milliseconds("window", seconds, least=1)
    return windows_ms


def milliseconds(field_name: str, seconds: str | float, *, least: int = 0) -> int:
    """A duration in whole milliseconds. Raises InputError naming the field where it is none, or below `least`."""
    try:
        number = float(seconds)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and least <= round(1000 * number) <= _LONGEST_MS):
        raise InputError("is no usable duration", field=field_name, value=seconds,
                         remedy=f"use {least / 1000:g} to {_LONGEST_MS // 1000} seconds")  # fmt: skip
    return round(1000 * number)


def _or(given: int | None, default: int) -> int:
    return default if given is None else given


def _check_duration(name: str, value_ms: int, *, least_ms: int = 0) -> None:
    if not least_ms <= value_ms <= _LONGEST_MS:
        raise InputError("is no usable duration", field=name, value=value_ms,
                         remedy=f"use {least_ms} to {_LONGEST_MS} milliseconds")  # fmt: skip

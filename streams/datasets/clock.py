"""The data's clock: times as readers meet them, in milliseconds since 1970 UTC."""

from __future__ import annotations

from streams.datasets.lines import Line

ORDER_START_MS = 1_600_000_000_000
"""Where the clock of a log without times begins (2020-09-13 12:26:40 UTC); such a log ticks one second a row."""

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

_LATEST_SECONDS = 100_000_000_000
"""A larger stamp is in milliseconds: as seconds it would lie in the year 5138."""

_MONDAY_OFFSET_DAYS = 3
"""1970-01-01 was a Thursday; weekday 0 is Monday."""


def hour_of_day(time_ms: int) -> int:
    """0 to 23, UTC."""
    return time_ms // HOUR_MS % 24


def weekday(time_ms: int) -> int:
    """0 (Monday) to 6, UTC."""
    return (time_ms // DAY_MS + _MONDAY_OFFSET_DAYS) % 7


def to_ms(stamp: int) -> int:
    """A stamp in seconds or milliseconds as milliseconds."""
    return stamp if stamp > _LATEST_SECONDS else 1000 * stamp


class RisingClock:
    """Refuses to go back: for logs that must lie in the order of time."""

    def __init__(self) -> None:
        self._now_ms = 0

    def advance(self, line: Line, time_ms: int) -> int:
        """`time_ms`, now the present. Raises FormatError where it is before 1970 or earlier than the line before."""
        if time_ms < self._now_ms:
            raise line.error(
                "timestamp", "is earlier than the line before, or than 1970", time_ms, "sort the file by time"
            )
        self._now_ms = time_ms
        return time_ms

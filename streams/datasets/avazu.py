"""Avazu's mobile ads: comma-separated with a header, one impression of one ad a row, times by the hour.

Source: Avazu, Click-Through Rate Prediction (2014). A device without an id (a99f214a) is told
apart by its address and model; C14 is taken for the ad.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from streams.contract.errors import FormatError
from streams.contract.events import Impression, Value
from streams.datasets.badlines import BadLines
from streams.datasets.clock import HOUR_MS, RisingClock, hour_of_day, weekday
from streams.datasets.lines import Line, parse_lines, read_lines, require_file, split_fields
from streams.datasets.observed import Observed, clicks
from streams.datasets.options import DatasetOptions

USER_COLUMNS = ("device_id", "device_ip", "device_model", "device_type", "device_conn_type")
CONTEXT_COLUMNS = ("site_id", "site_domain", "site_category", "app_id", "app_domain", "app_category")
AD_COLUMNS = ("C1", "banner_pos", "C14", "C15", "C16", "C17", "C18", "C19", "C20", "C21")
_NO_DEVICE = "a99f214a"


def open_avazu(path: Path, options: DatasetOptions, bad_lines: BadLines) -> Iterator[Observed]:
    """One impression of one candidate a row; the rows of an hour come one millisecond apart.

    Raises FormatError where the header lacks a column.
    """
    columns = _columns(path)
    lines = read_lines(path, bad_lines)
    next(lines)
    return parse_lines(lines, _Reader(columns).parse, bad_lines)


def _columns(path: Path) -> list[str]:
    header = next(read_lines(require_file(path), BadLines()), None)
    columns = header.text.split(",") if header else []
    missing = {"id", "click", "hour", *USER_COLUMNS, *CONTEXT_COLUMNS, *AD_COLUMNS} - set(columns)
    if missing:
        raise FormatError(
            f"{path}:1: the header lacks {', '.join(sorted(missing))}",
            field="header",
            value=header.text if header else None,
            remedy="give Avazu's train.csv with its header",
        )
    return columns


class _Reader:
    def __init__(self, columns: list[str]) -> None:
        self._columns = columns
        self._clock = RisingClock()
        self._hour_ms = -1
        self._rows_in_hour = 0

    def parse(self, line: Line) -> Observed:
        row = dict(zip(self._columns, split_fields(line, ",", len(self._columns)), strict=True))
        if row["click"] not in ("0", "1"):
            raise line.error("click", "is neither 0 nor 1", row["click"])
        time_ms = self._time_ms(line, row["hour"])
        return _observed(row, time_ms)

    def _time_ms(self, line: Line, text: str) -> int:
        hour_ms = _hour_ms(line, text)
        if hour_ms != self._hour_ms:
            self._clock.advance(line, hour_ms)
            self._hour_ms, self._rows_in_hour = hour_ms, 0
        self._rows_in_hour += 1
        return self._clock.advance(line, hour_ms + min(self._rows_in_hour, HOUR_MS) - 1)


def _hour_ms(line: Line, text: str) -> int:
    try:
        if len(text) != len("YYMMDDHH"):
            raise ValueError("strptime takes single digits too")
        hour = datetime.strptime(text, "%y%m%d%H").replace(tzinfo=UTC)
    except ValueError as error:
        raise line.error("hour", "is not an hour written YYMMDDHH", text) from error
    return int(hour.timestamp()) * 1000


def _observed(row: dict[str, str], time_ms: int) -> Observed:
    unit_id = row["device_id"]
    if unit_id == _NO_DEVICE:
        unit_id = f"{row['device_ip']}-{row['device_model']}"
    context: dict[str, Value] = {name: row[name] for name in CONTEXT_COLUMNS}
    impression = Impression(
        event_id=f"avazu-{row['id']}",
        event_time_ms=time_ms,
        session_id=unit_id,
        unit_id=unit_id,
        ad_ids=[row["C14"]],
        user={name: row[name] for name in USER_COLUMNS},
        context={**context, "hour": hour_of_day(time_ms), "weekday": weekday(time_ms)},
        candidates={name: [row[name]] for name in AD_COLUMNS},
    )
    return Observed(impression, clicks(impression, [row["C14"]] if row["click"] == "1" else []))

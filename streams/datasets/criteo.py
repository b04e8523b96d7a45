"""Criteo's display ads: label, 13 integers, 26 hex categories, tab-separated; an optional timestamp before them.

    [timestamp] label I1 ... I13 C1 ... C26        empty fields are unknown values

Source: Criteo Labs, Display Advertising Challenge (2014). What the columns mean is not published;
here the last 4 integers and 8 categories describe the ad, the others the request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import xxhash

from streams.contract.events import Impression, Value
from streams.datasets.badlines import BadLines
from streams.datasets.clock import ORDER_START_MS, RisingClock, hour_of_day, to_ms
from streams.datasets.lines import Line, parse_lines, read_lines, require_file
from streams.datasets.observed import Observed, clicks
from streams.datasets.options import DatasetOptions

NUM_INTEGERS = 13
NUM_CATEGORIES = 26
REQUEST_INTEGERS = tuple(f"I{i}" for i in range(1, 10))
AD_INTEGERS = tuple(f"I{i}" for i in range(10, 14))
REQUEST_CATEGORIES = tuple(f"C{i}" for i in range(1, 19))
AD_CATEGORIES = tuple(f"C{i}" for i in range(19, 27))

_INTEGER = re.compile(r"-?\d+")
_CATEGORY = re.compile(r"[0-9a-f]{1,16}")


def open_criteo(path: Path, options: DatasetOptions, bad_lines: BadLines) -> Iterator[Observed]:
    """One impression of one candidate a row; rows without a timestamp come one second apart."""
    require_file(path)
    reader = _Reader()
    return parse_lines(read_lines(path, bad_lines), reader.parse, bad_lines)


class _Reader:
    def __init__(self) -> None:
        self._clock = RisingClock()

    def parse(self, line: Line) -> Observed:
        fields = line.text.split("\t")
        due = 1 + NUM_INTEGERS + NUM_CATEGORIES
        if len(fields) not in (due, due + 1):
            raise line.error("line", f"has {len(fields)} fields where {due} or, with a timestamp, {due + 1} are due")
        stamp = fields.pop(0) if len(fields) > due else None
        label, integers, categories = fields[0], fields[1 : 1 + NUM_INTEGERS], fields[1 + NUM_INTEGERS :]
        if label not in ("0", "1"):
            raise line.error("label", "is neither 0 nor 1", label)
        values = _integers(line, integers) | _categories(line, categories)
        time_ms = self._clock.advance(line, _time_ms(line, stamp))
        return _observed(line, time_ms, label == "1", values)


def _time_ms(line: Line, stamp: str | None) -> int:
    if stamp is None:
        return ORDER_START_MS + 1000 * line.number
    if not stamp.isdecimal():
        raise line.error("timestamp", "is no number of seconds or milliseconds since 1970", stamp)
    return to_ms(int(stamp))


def _integers(line: Line, texts: list[str]) -> dict[str, int | str | None]:
    values: dict[str, int | str | None] = {}
    for name, text in zip((*REQUEST_INTEGERS, *AD_INTEGERS), texts, strict=True):
        if text and not _INTEGER.fullmatch(text):
            raise line.error(name, "is not a whole number", text)
        values[name] = int(text) if text else None
    return values


def _categories(line: Line, texts: list[str]) -> dict[str, int | str | None]:
    values: dict[str, int | str | None] = {}
    for name, text in zip((*REQUEST_CATEGORIES, *AD_CATEGORIES), texts, strict=True):
        if text and not _CATEGORY.fullmatch(text):
            raise line.error(name, "is not a hexadecimal category", text)
        values[name] = text or None
    return values


def _observed(line: Line, time_ms: int, clicked: bool, values: dict[str, int | str | None]) -> Observed:
    context: dict[str, Value] = {name: values[name] for name in (*REQUEST_INTEGERS, *REQUEST_CATEGORIES)}
    context["hour"] = hour_of_day(time_ms)
    ad: list[Value] = [values[name] for name in (*AD_INTEGERS, *AD_CATEGORIES)]
    ad_id = xxhash.xxh3_64_hexdigest(repr(ad).encode())
    impression = Impression(
        event_id=f"criteo-{line.number}",
        event_time_ms=time_ms,
        session_id=f"criteo-{line.number}",
        unit_id=f"criteo-{line.number}",
        ad_ids=[ad_id],
        context=context,
        candidates={name: [value] for name, value in zip((*AD_INTEGERS, *AD_CATEGORIES), ad, strict=True)},
    )
    return Observed(impression, clicks(impression, [ad_id] if clicked else []))

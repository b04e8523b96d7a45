"""What an event must satisfy, beyond its types, wherever it comes in.

Everything downstream packs numbers into fixed widths and leads feedback to an ad that was shown; what
does not fit is refused here, where its sender is still at hand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from streams.contract.errors import FormatError
from streams.contract.events import FINAL_TIME_MS, Event, Feedback, Impression, Tick

MAX_ID_CHARACTERS = 512
_MAX_FLOAT = 3.0e38
_INT32 = 2**31
_INT64 = 2**63


def check_event(event: Event) -> None:
    """Raises FormatError naming field, value and remedy where the event cannot be used."""
    check_id("event_id", event.event_id)
    final = isinstance(event, Tick) and event.final
    if event.event_time_ms is not None and not final:
        check_time("event_time_ms", event.event_time_ms)
    _check_int("ingest_ms", event.ingest_ms, FINAL_TIME_MS)
    if isinstance(event, Impression):
        _check_impression(event)
    elif isinstance(event, Feedback):
        _check_feedback(event)


def check_id(name: str, value: str) -> None:
    """Raises FormatError where `value` cannot be an event's id."""
    if not 0 < len(value) <= MAX_ID_CHARACTERS:
        raise FormatError("is no usable id", field=name, value=value,
                          remedy=f"use 1 to {MAX_ID_CHARACTERS} characters")  # fmt: skip


def check_time(name: str, value: int) -> None:
    """Raises FormatError where `value` cannot be an event's time in milliseconds."""
    if not -FINAL_TIME_MS < value < FINAL_TIME_MS:
        raise FormatError("is out of range", field=name, value=value, remedy="use milliseconds")


def check_shown(impression: Impression) -> None:
    """Raises FormatError where it shows nothing, or one of its lists has another length than `ad_ids`."""
    if not impression.ad_ids:
        raise FormatError("shows no ad", field="ad_ids", value=impression.ad_ids,
                          remedy="name the ads that were shown; what showed none is no impression")  # fmt: skip
    expected = len(impression.ad_ids)
    lists: dict[str, Any] = {f"candidates.{name}": column for name, column in impression.candidates.items()}
    for name in ("positions", "probabilities", "propensities", "true_probabilities"):
        lists[name] = getattr(impression, name)
    for name, values in lists.items():
        if values is not None and len(values) != expected:
            raise FormatError(f"has {len(values)} entries where ad_ids has {expected}", field=name,
                              value=len(values), remedy="give one entry a candidate")  # fmt: skip


def _check_impression(event: Impression) -> None:
    check_shown(event)
    _check_int("version", event.version, _INT64)
    _check_int("generation", event.generation, _INT64)
    if event.positions and not -_INT32 <= min(event.positions) <= max(event.positions) < _INT32:
        raise FormatError("is out of range", field="positions", value=event.positions, remedy="use 32-bit integers")
    _check_floats("probabilities", event.probabilities)
    _check_floats("propensities", event.propensities)
    _check_floats("true_probabilities", event.true_probabilities)


def _check_feedback(event: Feedback) -> None:
    if not abs(event.value) <= _MAX_FLOAT:
        raise FormatError("is out of range", field="value", value=event.value, remedy="use a finite 32-bit float")
    if event.delay_ms is not None:
        _check_int("delay_ms", event.delay_ms, FINAL_TIME_MS)


def _check_int(name: str, value: int, limit: int) -> None:
    if not -limit <= value < limit:
        raise FormatError("is out of range", field=name, value=value, remedy="use a 64-bit integer")


def _check_floats(name: str, values: Sequence[float] | None) -> None:
    """Each value a 32-bit float or nan (unknown). One finite small sum clears the list without a loop."""
    if not values or (-_MAX_FLOAT < sum(values) < _MAX_FLOAT and min(values) > -_MAX_FLOAT):
        return
    for value in values:
        if not (math.isnan(value) or abs(value) <= _MAX_FLOAT):
            raise FormatError("is out of range", field=name, value=value, remedy="use a finite 32-bit float")

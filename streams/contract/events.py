"""Events of the `events` topic: what was shown, what came of it, and the clock's ticks.

Impressions, their feedback and ticks share one topic, keyed by session, so that within a
partition they have one order and the join is a function of that order alone.

    partition 0:  Impression(s1)  Feedback(s1)  Tick  Impression(s7)  ...
    partition 1:  Impression(s2)  Tick  Impression(s3)  Feedback(s2)  ...

Two clocks: `event_time_ms` is the time on the data's clock (windows and decays use it);
`ingest_ms` is the wall clock when the event entered Freshet (freshness is measured from it).
In live traffic they agree; in a replay of an old log they do not.
"""

from __future__ import annotations

from typing import Any, Union

import msgspec

Scalar = Union[str, int, float, None]
Value = Union[str, int, float, None, list[Union[str, int, float]]]
"""One raw feature value: scalar, or a list for multi-valued and sequence features."""

FINAL_TIME_MS = 2**62
"""Event time of a final tick: later than every window."""


class Impression(msgspec.Struct, kw_only=True, omit_defaults=True):
    """N candidates shown to one unit in one answer; every list has N entries."""

    event_id: str
    event_time_ms: int
    session_id: str
    unit_id: str
    ad_ids: list[str]

    # raw feature values, as the schema names them
    user: dict[str, Value] = {}
    context: dict[str, Value] = {}
    candidates: dict[str, list[Value]] = {}

    # how it was ranked
    arm: str = "default"
    version: int = 0
    generation: int = 0
    positions: list[int] | None = None
    probabilities: list[float] | None = None
    propensities: list[float] | None = None
    flags: list[str] = []

    # known only where the event is simulated
    true_probabilities: list[float] | None = None

    ingest_ms: int = 0
    extra: dict[str, Any] = {}


class Feedback(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What one shown ad brought: a click, a conversion, a value; the same session as its impression."""

    event_id: str
    event_time_ms: int
    session_id: str
    impression_id: str
    ad_id: str
    kind: str = "click"
    value: float = 1.0
    delay_ms: int | None = None
    ingest_ms: int = 0
    extra: dict[str, Any] = {}


class Tick(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A beat in one partition: consumers cut their batch here. `final` ends the stream and closes every window.

    `event_time_ms`, where given, moves the partition's watermark (live traffic); a replay's ticks leave it out.
    """

    event_id: str
    event_time_ms: int | None = None
    final: bool = False
    ingest_ms: int = 0
    extra: dict[str, Any] = {}


Event = Union[Impression, Feedback, Tick]

"""One recorded impression and all that came of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from streams.contract.events import Feedback, Impression
from streams.contract.schema import Schema
from streams.datasets.badlines import BadLines


@dataclass(frozen=True, slots=True)
class Observed:
    """What was shown, and its feedback at the true times; no feedback is earlier than the impression."""

    impression: Impression
    feedback: list[Feedback] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set that is open: iterate over it once, in the order of `impression.event_time_ms`.

    `schema` is None where the log's features are the user's own (jsonl). `bad_lines` counts
    while the iteration goes on.
    """

    spec: str
    format: str
    schema: Schema | None
    bad_lines: BadLines
    observed: Iterator[Observed]

    def __iter__(self) -> Iterator[Observed]:
        return self.observed


def clicks(impression: Impression, clicked_ads: list[str], *, delay_ms: int | None = None) -> list[Feedback]:
    """One click for each of `clicked_ads`; at the impression's time where the log knows no delay."""
    return [
        Feedback(
            event_id=f"{impression.event_id}-{ad_id}-click",
            event_time_ms=impression.event_time_ms + (delay_ms or 0),
            session_id=impression.session_id,
            impression_id=impression.event_id,
            ad_id=ad_id,
            delay_ms=delay_ms,
        )
        for ad_id in clicked_ads
    ]

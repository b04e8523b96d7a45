"""How the stations of a request share its time: recommender ──> history ──> click model ──> popularity.

Each is asked with the time that is left, and may take its share of that, so that who answers in its place is never
asked at the very end. /v1/score begins at the click model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from streams.contract.errors import InputError

Station = Literal["recommender", "history", "click_model"]
_MOST_KEPT = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadlineShares:
    """Shares of the time that is left when the station is asked; what nobody may take is popularity's."""

    recommender: float = 0.7
    history: float = 0.3
    """For reading what the unit likes already, before the click model."""
    click_model: float = 0.8
    kept_ms: float = 10.0
    """Each station leaves at least so much to those after it; but half, where there is less than twice that."""

    def __post_init__(self) -> None:
        for name in ("recommender", "history", "click_model"):
            if not 0 < getattr(self, name) < 1:
                raise InputError("must be above 0 and below 1", field=f"deadline_shares.{name}",
                                 value=getattr(self, name))  # fmt: skip
        if not 0 <= self.kept_ms < math.inf:
            raise InputError("must be 0 or more", field="deadline_shares.kept_ms", value=self.kept_ms)

    def seconds(self, station: Station, left: float) -> float:
        """Of `left` seconds, those that the station may take."""
        share: float = getattr(self, station)
        kept = min(self.kept_ms / 1000, _MOST_KEPT * left)
        return max(0.0, min(share * left, left - kept))

    def deadline(self, station: Station, whole: float, now: float) -> float:
        """The station's own deadline, where the request's is `whole`; `time.monotonic()` seconds like `now`."""
        return now + self.seconds(station, whole - now)

"""What was shown, as an event: built and encoded off the request's path."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from serving.gateway.spool_segments import Spooled
from serving.gateway.wire import ScoreRequest
from streams.contract.columns import Array
from streams.contract.encoding import encode_event
from streams.contract.events import Event, Impression, Tick
from streams.log.event_log import MAX_RECORD_BYTES

TRIMMED = "trimmed"

_LOGGER = logging.getLogger(__name__)
_SPARE_BYTES = 1024


class Answered(Protocol):
    """One answered request: enough to write its impression later, off the request's path."""

    def impression(self) -> Impression:
        """The event; its id is the request's, so a retried request is recognised by the join."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One answered scoring request. scores, ranking (E,)."""

    request: ScoreRequest
    request_id: str
    ad_ids: list[str]
    keeps_ad_id: bool
    scores: Array
    ranking: Array
    arm: str
    version: int
    generation: int
    flags: tuple[str, ...]
    ingest_ms: int

    def impression(self) -> Impression:
        """All candidates, in their own order."""
        request = self.request
        candidates = request.candidates
        if not self.keeps_ad_id:
            candidates = {name: column for name, column in candidates.items() if name != "ad_id"}
        return Impression(
            event_id=self.request_id,
            event_time_ms=self.ingest_ms if request.event_time_ms is None else request.event_time_ms,
            session_id=request.session_id or request.unit_id,
            unit_id=request.unit_id,
            ad_ids=self.ad_ids,
            user=request.user,
            context=request.context,
            candidates=candidates,
            arm=self.arm,
            version=self.version,
            generation=self.generation,
            positions=positions_of(self.ranking).tolist(),
            probabilities=self.scores.tolist(),
            flags=list(self.flags),
            ingest_ms=self.ingest_ms,
        )


def positions_of(ranking: Array) -> Array:
    """The place (E,) of each candidate in the ranking (E,), 0 the best."""
    positions = np.empty(len(ranking), dtype=np.int64)
    positions[ranking] = np.arange(len(ranking))
    return positions


def encode_for_log(event: Event) -> Spooled:
    """Key and bytes for the log; an impression too large for one record keeps only its best-ranked candidates."""
    assert not isinstance(event, Tick)
    key = event.session_id.encode()
    value = encode_event(event)
    while len(key) + len(value) > MAX_RECORD_BYTES and isinstance(event, Impression) and len(event.ad_ids) > 1:
        share = (MAX_RECORD_BYTES - _SPARE_BYTES) / (len(key) + len(value))
        kept = max(1, min(len(event.ad_ids) - 1, int(len(event.ad_ids) * share)))
        _LOGGER.warning("impression %s: %d candidates do not fit one record of the log; the best %d are kept",
                        event.event_id, len(event.ad_ids), kept)  # fmt: skip
        event = trimmed(event, kept)
        value = encode_event(event)
    return Spooled(key, value)


def trimmed(event: Impression, kept: int) -> Impression:
    """The impression with only its `kept` best-ranked candidates, flagged."""
    order = sorted(range(len(event.ad_ids)), key=lambda row: event.positions[row] if event.positions else row)
    rows = sorted(order[:kept])

    def pick(column: list[Any] | None) -> Any:
        return None if column is None else [column[row] for row in rows]

    return Impression(
        **{name: getattr(event, name) for name in event.__struct_fields__ if name not in _PER_CANDIDATE},
        **{name: pick(getattr(event, name)) for name in _PER_CANDIDATE - {"candidates", "flags"}},
        candidates={name: pick(column) for name, column in event.candidates.items()},
        flags=sorted({*event.flags, TRIMMED}),
    )


_PER_CANDIDATE = frozenset(
    ("ad_ids", "positions", "probabilities", "propensities", "true_probabilities", "candidates", "flags")
)

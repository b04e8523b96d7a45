"""Scores by period of the data's clock, in bounded memory: five minutes that widen as the log goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from streams.contract.columns import Array
from trainer.tally import Floats, Scores, Tally

FIVE_MINUTES_MS = 300_000
_MOST_PERIODS = 64


@dataclass(frozen=True, slots=True)
class Period:
    """Scores of the examples with event times from `start_ms` up to `end_ms`."""

    start_ms: int
    end_ms: int
    scores: Scores

    def as_dict(self) -> dict[str, Any]:
        """Times and scores by name."""
        return {"start_ms": self.start_ms, "end_ms": self.end_ms, **self.scores.as_dict()}


class Periods:
    """Tallies by period; beyond 64 of them, periods of twice the width are begun."""

    def __init__(self, width_ms: int = FIVE_MINUTES_MS) -> None:
        self._width_ms = width_ms
        self._tallies: dict[int, Tally] = {}

    def add(self, time_ms: Array, label: Floats, logit: Floats, weight: Floats, loss: Floats, true: Floats) -> None:
        """N examples, all (N,), with their event times."""
        places = time_ms // self._width_ms
        for place in np.unique(places).tolist():
            own = places == place
            tally = self._tallies.setdefault(place, Tally())
            tally.add(label[own], logit[own], weight[own], loss[own], true[own])
        while len(self._tallies) > _MOST_PERIODS:
            self._widen()

    def periods(self) -> list[Period]:
        """The periods that have examples, in order."""
        return [
            Period(place * self._width_ms, (place + 1) * self._width_ms, tally.scores())
            for place, tally in sorted(self._tallies.items())
        ]

    def _widen(self) -> None:
        narrow, self._tallies = self._tallies, {}
        for place, tally in narrow.items():
            self._tallies.setdefault(place // 2, Tally()).merge(tally)
        self._width_ms *= 2

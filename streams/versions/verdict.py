"""What a gate says of a delta: the reasons against making a version of it, and what was measured on the way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from streams.contract.manifest import Generation
from streams.versions.delta import Delta


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a delta is refused: what was measured, and the bound it broke."""

    code: str
    message: str
    measured: float
    bound: float


@dataclass(frozen=True, slots=True)
class Norms:
    """L2 norms: of the largest row, and of all learnt dense parameters together: what was counted is none of these."""

    row: float = 0.0
    dense: float = 0.0

    def after(self, newer: Norms) -> Norms:
        """The running scale after one more version: the largest so far, slowly forgotten."""
        return Norms(max(newer.row, 0.99 * self.row), max(newer.dense, 0.99 * self.dense))


@dataclass(frozen=True, slots=True)
class LiveView:
    """What is served now, and the running scale of the norms of the versions accepted so far."""

    version: int
    generation: int
    norms: Norms = Norms()


@dataclass(frozen=True, slots=True)
class GateResult:
    """The verdict, and what was measured on the way (absent where it could not be)."""

    reasons: list[Reason]
    norms: Norms
    measured: dict[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether there is no reason against it."""
        return not self.reasons

    def as_dict(self) -> dict[str, Any]:
        """As it stands in a manifest and in the list of refused versions."""
        reasons = [{"code": r.code, "message": r.message, "measured": _plain(r.measured), "bound": r.bound}
                   for r in self.reasons]  # fmt: skip
        measured = {name: _plain(value) for name, value in self.measured.items()}
        norms = {"row_norm": _plain(self.norms.row), "dense_norm": _plain(self.norms.dense)}
        return {"passed": self.passed, "reasons": reasons, **measured, **norms}


Gate = Callable[[Delta, LiveView | None, str, Generation], GateResult]
"""Judges a delta in a generation, given what is live (None before its first version) and the feature hash."""


def _plain(value: float) -> float | str:
    """The number, or its name where JSON has none for it."""
    return float(value) if math.isfinite(value) else str(float(value))

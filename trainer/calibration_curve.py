"""How calibrated a recipe is along its predictions, once it has warmed up; before and after its calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from streams.contract.columns import Array
from trainer.reliability import Reliability
from trainer.tally import Floats

WARM_UP_EXAMPLES = 50_000
"""Left out, where more than half as many follow."""


class CalibrationCurve:
    """Scored examples by prediction: all of them, and those behind the warm-up."""

    def __init__(self) -> None:
        self._parts = {name: Reliability() for name in ("early", "late", "early_before", "late_before")}
        self._count = self._late = 0
        self._is_calibrated = False

    def add(self, label: Floats, logit: Array, uncalibrated: Array | None, weight: Floats, true: Floats) -> None:
        """The next N examples (N,); `uncalibrated` logits where a map lies between."""
        when = "early" if self._count < WARM_UP_EXAMPLES else "late"
        self._count += len(label)
        self._late += len(label) if when == "late" else 0
        self._parts[when].add(label, logit.astype(np.float64), weight, true)
        if uncalibrated is not None:
            self._is_calibrated = True
            self._parts[f"{when}_before"].add(label, uncalibrated.astype(np.float64), weight, true)

    def merge(self, other: CalibrationCurve) -> None:
        """Adds the other's examples."""
        for name, part in self._parts.items():
            part.merge(other._parts[name])
        self._count, self._late = self._count + other._count, self._late + other._late
        self._is_calibrated |= other._is_calibrated

    @property
    def after(self) -> Reliability:
        """Of what was predicted."""
        return self._of("")

    @property
    def before(self) -> Reliability | None:
        """Of what would have been predicted without the map; None where there is none."""
        return self._of("_before") if self._is_calibrated else None

    @property
    def warm_up_left_out(self) -> bool:
        """Whether the first examples are left out."""
        return 3 * self._late > self._count

    def as_dict(self) -> dict[str, Any]:
        """As `--json` has it."""
        before = self.before
        return {
            **_summary("", self.after),
            **({} if before is None else _summary("_before", before)),
            "deciles": [decile.as_dict() for decile in self.after.deciles()],
        }

    def _of(self, suffix: str) -> Reliability:
        if self.warm_up_left_out:
            return self._parts[f"late{suffix}"]
        whole = Reliability()
        whole.merge(self._parts[f"early{suffix}"])
        whole.merge(self._parts[f"late{suffix}"])
        return whole


def merged(curves: Sequence[CalibrationCurve]) -> CalibrationCurve:
    """All of them together."""
    whole = CalibrationCurve()
    for curve in curves:
        whole.merge(curve)
    return whole


def _summary(suffix: str, reliability: Reliability) -> dict[str, float | None]:
    values = {"calibration_error": reliability.expected_error(), "worst_decile": reliability.worst_decile()}
    return {f"{name}{suffix}": None if math.isnan(value) else value for name, value in values.items()}

"""How far predictions are from what happened, along their own scale: ten equal parts of the examples.

Sums are kept in bins of the logit, 16 a unit, and deciles are put together from whole bins, so parts may
be a little unequal. Expected calibration error: the mean over examples of |prediction - label| between the
means of their decile (Naeini et al., AAAI 2015, with equal masses).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from streams.contract.columns import Array
from trainer.tally import Floats

_LOGIT_LIMIT = 16
_BINS_A_UNIT = 16
_BINS = 2 * _LOGIT_LIMIT * _BINS_A_UNIT
_PARTS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Decile:
    """A tenth of the examples, by prediction. Means are weighted; `mean_true` is nan where it is not known."""

    weight: float
    mean_prediction: float
    mean_label: float
    mean_true: float = math.nan

    @property
    def calibration(self) -> float:
        """Mean prediction over the mean true probability, or over the mean label where that is not known."""
        happened = self.mean_label if math.isnan(self.mean_true) else self.mean_true
        return self.mean_prediction / happened if happened > 0 else math.nan

    def as_dict(self) -> dict[str, float]:
        """What is defined, by name."""
        values = {**asdict(self), "calibration": self.calibration}
        return {name: value for name, value in values.items() if not math.isnan(value)}


class Reliability:
    """Sums of scored examples by bin of their logit. Of fixed size; may fade."""

    def __init__(self) -> None:
        self.sums = np.zeros((5, _BINS))
        """weight, label, prediction, true probability, weight with a true probability; each by bin."""

    def add(self, label: Floats, logit: Floats, weight: Floats, true_probability: Floats) -> None:
        """N examples (N,) each; `true_probability` is nan where unknown."""
        bins = _bins(logit)
        known = np.where(np.isnan(true_probability), 0.0, weight)
        true = np.nan_to_num(true_probability)
        for row, values in enumerate((weight, weight * label, weight / (1.0 + np.exp(-logit)), known * true, known)):
            self.sums[row] += np.bincount(bins, weights=values, minlength=_BINS)

    def correct(self, logit: Floats, change: Floats) -> None:
        """Changes the labels of N examples added before by `change` (N,), where they lie now."""
        self.sums[1] += np.bincount(_bins(logit), weights=change, minlength=_BINS)

    def merge(self, other: Reliability) -> None:
        """Adds the other's examples."""
        self.sums += other.sums

    def fade(self, share: float) -> None:
        """Leaves this share of what was added."""
        self.sums *= share

    def deciles(self) -> list[Decile]:
        """From the lowest predictions to the highest; fewer than ten where many examples have one prediction."""
        weight = self.sums[0]
        total = weight.sum()
        if total <= 0:
            return []
        middle = (np.cumsum(weight) - weight / 2) / total
        part = np.minimum((middle * _PARTS).astype(np.int64), _PARTS - 1)
        sums = np.stack([np.bincount(part, weights=row, minlength=_PARTS) for row in self.sums])
        return [_decile(column) for column in sums.T if column[0] > 0]

    def expected_error(self) -> float:
        """The expected calibration error over deciles, a difference of probabilities; nan without examples."""
        deciles = self.deciles()
        total = sum(decile.weight for decile in deciles)
        distances = sum(decile.weight * abs(decile.mean_prediction - decile.mean_label) for decile in deciles)
        return distances / total if total else math.nan

    def worst_decile(self) -> float:
        """The largest |calibration - 1| of a decile; nan where none is defined."""
        off = [abs(decile.calibration - 1.0) for decile in self.deciles()]
        return max((each for each in off if not math.isnan(each)), default=math.nan)

    def state(self) -> Array:
        """The sums, a copy, for a checkpoint."""
        return self.sums.copy()


def _bins(logit: Floats) -> Array:
    bins: Array = np.clip((logit + _LOGIT_LIMIT) * _BINS_A_UNIT, 0, _BINS - 1).astype(np.int64)
    return bins


def _decile(sums: Floats) -> Decile:
    weight, label, prediction, true, known = sums.tolist()
    return Decile(
        weight=weight, mean_prediction=prediction / weight, mean_label=label / weight,
        mean_true=true / known if known >= weight * (1.0 - 1e-9) else math.nan,
    )  # fmt: skip

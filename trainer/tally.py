"""Sums over scored examples that can be added up: what normalized entropy, AUC and calibration follow from.

Normalized entropy (He et al., ADKDD 2014): mean log loss over the log loss of always predicting
the mean label. Below 1 is better than the base rate. AUC here is from a histogram over logits,
`_BINS_A_UNIT` bins a unit; pairs within one bin count half.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from streams.contract.columns import Array

_LOGIT_LIMIT = 16
_BINS_A_UNIT = 128
NUM_BINS = 2 * _LOGIT_LIMIT * _BINS_A_UNIT

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """How well a run of examples was predicted; nan where it is not defined (no example, or one label only).

    Everything but `examples` is weighted. calibration: mean prediction over mean label.
    `bayes_log_loss`: of the true probabilities, where all examples have one.
    """

    examples: int
    log_loss: float
    base_rate_log_loss: float
    normalized_entropy: float
    auc: float
    calibration: float
    mean_label: float
    mean_prediction: float
    bayes_log_loss: float = math.nan

    def as_dict(self) -> dict[str, float]:
        """The defined scores by name."""
        return {name: value for name, value in asdict(self).items() if not math.isnan(value)}


def log_losses(logit: Floats, label: Floats) -> Floats:
    """-log p of the label seen, (N,), from logits; exact for large ones."""
    losses: Floats = np.logaddexp(0.0, logit) - label * logit
    return losses


def entropy(mean_label: float) -> float:
    """Log loss of always predicting `mean_label` where it is the mean label; 0 at 0 and 1, nan for nan."""
    if math.isnan(mean_label) or not 0 < mean_label < 1:
        return math.nan if math.isnan(mean_label) else 0.0
    return -(mean_label * math.log(mean_label) + (1 - mean_label) * math.log1p(-mean_label))


class Tally:
    """Sums of label, prediction, loss and weight, and two histograms of logits. Of fixed size; adds up."""

    SUMS = ("examples", "weight", "label", "prediction", "loss", "bayes_loss", "bayes_weight")

    def __init__(self) -> None:
        self.sums = np.zeros(len(self.SUMS), dtype=np.float64)
        self.histogram = np.zeros(2 * NUM_BINS, dtype=np.float64)
        """Weight by bin: the negatives' bins, then the positives'."""

    def add(self, label: Floats, logit: Floats, weight: Floats, losses: Floats, true_probability: Floats) -> None:
        """N examples (N,) each; `true_probability` is nan where unknown."""
        prediction = 1.0 / (1.0 + np.exp(-logit))
        known = ~np.isnan(true_probability)
        bayes = _bayes_losses(label[known], true_probability[known]) @ weight[known] if known.any() else 0.0
        self.sums += np.array([
            len(label), weight.sum(), weight @ label, weight @ prediction, weight @ losses, bayes, weight[known].sum(),
        ])  # fmt: skip
        bins = np.clip((logit + _LOGIT_LIMIT) * _BINS_A_UNIT, 0, NUM_BINS - 1).astype(np.int64)
        bins[label > 0.5] += NUM_BINS
        self.histogram += np.bincount(bins, weights=weight, minlength=2 * NUM_BINS)

    def merge(self, other: Tally) -> None:
        """Adds the other's examples."""
        self.sums += other.sums
        self.histogram += other.histogram

    def scores(self) -> Scores:
        """The scores of all examples added."""
        total = dict(zip(self.SUMS, self.sums.tolist(), strict=True))
        complete = total["bayes_weight"] == total["weight"] and total["weight"] > 0
        return scores_from(
            examples=int(total["examples"]), weight=total["weight"], label=total["label"],
            prediction=total["prediction"], loss=total["loss"], auc=_auc(self.histogram),
            bayes_loss=total["bayes_loss"] if complete else math.nan,
        )  # fmt: skip

    def state(self) -> dict[str, Array]:
        """The sums as arrays, for a checkpoint."""
        return {"sums": self.sums.copy(), "histogram": self.histogram.copy()}

    def load_state(self, state: dict[str, Array]) -> None:
        """The inverse of `state`."""
        self.sums, self.histogram = state["sums"].copy(), state["histogram"].copy()


def scores_from(
    *, examples: int, weight: float, label: float, prediction: float, loss: float, auc: float, bayes_loss: float
) -> Scores:
    """Scores from sums over weighted examples."""
    mean_label = _over(label, weight)
    base = entropy(mean_label)
    log_loss = _over(loss, weight)
    return Scores(
        examples=examples,
        log_loss=log_loss,
        base_rate_log_loss=base,
        normalized_entropy=_over(log_loss, base),
        auc=auc,
        calibration=_over(prediction, label),
        mean_label=mean_label,
        mean_prediction=_over(prediction, weight),
        bayes_log_loss=_over(bayes_loss, weight),
    )


def exact_auc(label: Floats, logit: Floats, weight: Floats) -> float:
    """The chance that a positive has a higher logit than a negative, ties half; nan with one label only."""
    positive = np.where(label > 0.5, weight, 0.0)
    negative = weight - positive
    _, place = np.unique(logit, return_inverse=True)
    return _auc_of_bins(_sum_by(place, negative), _sum_by(place, positive))


def _sum_by(place: npt.NDArray[np.int64], weight: Floats) -> Floats:
    return np.bincount(place, weights=weight).astype(np.float64, copy=False)


def _auc(histogram: Floats) -> float:
    return _auc_of_bins(histogram[:NUM_BINS], histogram[NUM_BINS:])


def _auc_of_bins(negative: Floats, positive: Floats) -> float:
    """From the weights of negatives and positives in rising bins."""
    pairs = float(negative.sum() * positive.sum())
    below = np.cumsum(negative) - negative
    return _over(float(positive @ (below + 0.5 * negative)), pairs)


def _bayes_losses(label: Floats, probability: Floats) -> Floats:
    tiny = np.finfo(np.float64).tiny
    right = np.where(label > 0.5, probability, 1.0 - probability)
    losses: Floats = -np.log(np.maximum(right, tiny))
    return losses


def _over(a: float, b: float) -> float:
    return a / b if b else math.nan

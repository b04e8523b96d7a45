"""Reasons not to publish. What fails any of them stays with the trainer and is not served.

    too_few_examples             the window does not hold enough examples to judge by
    feature_hash                 the delta and its generation transform features differently
    non_finite                   a parameter, a row or a prediction is not a number the row encoding can hold
    entropy_worse                the live versions predicted the same examples better
    entropy_no_better_than_base  after warm-up, always predicting the mean label would do better
    calibration                  mean prediction over mean label is out of bounds
    row_norm, dense_norm         a row, or the dense network, grew out of all proportion

The window's predictions are progressive: each example was predicted before it was learnt, and calibrated
where the recipe calibrates, as at serving. A difference counts where it exceeds its tolerance by
`num_standard_errors` standard errors, so noise does not block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from streams.contract.calibration import PREFIX as CALIBRATION
from streams.contract.columns import Array
from streams.contract.counters import TABLE_PREFIX as COUNTERS
from streams.contract.manifest import Generation
from streams.versions.delta import Delta, WindowScores
from streams.versions.verdict import Gate, GateResult, LiveView, Norms, Reason
from trainer.model.scaling import PREFIX as SCALING

_LARGEST_FP16 = 65504.0
_EPSILON = 1e-7


@dataclass(frozen=True, kw_only=True, slots=True)
class GateConfig:
    """Bounds of the gate. `entropy_tolerance` and `max_normalized_entropy` are in units of normalized entropy."""

    min_examples: int = 256
    min_compared: int = 1000
    """Examples of the window with a served prediction, for `entropy_worse` to be judged at all."""
    warm_up_examples: int = 20_000
    """Examples learnt before `entropy_no_better_than_base` is judged."""
    entropy_tolerance: float = 0.01
    max_normalized_entropy: float = 1.0
    min_calibration: float = 0.5
    max_calibration: float = 2.0
    num_standard_errors: float = 3.0
    norm_factor: float = 10.0
    """How many times the largest norm of the versions before a version's largest norm may be."""
    norm_floor: float = 1.0
    """Norms up to `norm_factor` times this never block."""


def gate(config: GateConfig | None = None) -> Gate:
    """The gate within the given bounds."""
    return partial(check, config=config or GateConfig())


def check(
    delta: Delta,
    live: LiveView | None,
    feature_hash: str,
    generation: Generation,
    config: GateConfig | None = None,
) -> GateResult:
    """Every reason against making a version of `delta` in `generation`; milliseconds for ten thousand rows.

    `feature_hash` is the trainer's; `live` is None before the first version.
    """
    config = config or GateConfig()
    norms = _norms(delta)
    measured: dict[str, float] = {}
    reasons = [
        *_feature_hash(feature_hash, generation),
        *_finite(delta, norms, generation.row_encoding),
        *_window(config, delta, measured),
        *_growth(config, norms, live),
    ]
    return GateResult(reasons, norms, measured)


def _feature_hash(feature_hash: str, generation: Generation) -> Iterator[Reason]:
    if feature_hash != generation.feature_hash:
        number, expected = generation.generation, generation.feature_hash
        message = f"features are transformed as {feature_hash}, generation {number} expects {expected}"
        yield Reason("feature_hash", message, 1.0, 0.0)


def _finite(delta: Delta, norms: Norms, encoding: str) -> Iterator[Reason]:
    for name, tensor in delta.dense.items():
        bad = np.size(tensor) - int(np.isfinite(tensor).sum())
        if bad:
            yield Reason("non_finite", f"{bad} values of the dense parameter {name} are not finite", bad, 0.0)
    for table, rows in delta.rows.items():
        fits = np.isfinite(rows.values) if encoding != "fp16" else np.abs(rows.values) <= _LARGEST_FP16
        bad = len(rows.ids) - int(fits.all(axis=1).sum())
        if bad:
            yield Reason("non_finite", f"{bad} rows of table {table} do not fit {encoding}", bad, 0.0)
    bad = len(delta.window.probability) - int(np.isfinite(delta.window.probability).sum())
    if bad:
        yield Reason("non_finite", f"{bad} predictions of the window are not finite", bad, 0.0)


def _window(config: GateConfig, delta: Delta, measured: dict[str, float]) -> Iterator[Reason]:
    window = delta.window
    num = len(window.label)
    if num < config.min_examples:
        yield Reason("too_few_examples", f"the window holds {num} examples", num, config.min_examples)
        return
    if not np.isfinite(window.probability).all():
        return
    label = window.label.astype(np.float64)
    losses = log_loss(label, window.probability)
    yield from _against_base(config, delta.progress.examples, label, losses, measured)
    yield from _against_served(config, window, label, losses, measured)
    yield from _calibration(config, label, window.probability.astype(np.float64), measured)


def _against_base(
    config: GateConfig, num_learnt: int, label: Array, losses: Array, measured: dict[str, float]
) -> Iterator[Reason]:
    base = entropy(label)
    if base == 0.0:
        return
    measured["normalized_entropy"] = float(losses.mean()) / base
    margin = config.num_standard_errors * _standard_error(losses - log_loss(label, np.full(len(label), label.mean())))
    bound = config.max_normalized_entropy + margin / base
    if num_learnt >= config.warm_up_examples and measured["normalized_entropy"] > bound:
        message = "predicts the newest window no better than its mean label"
        yield Reason("entropy_no_better_than_base", message, measured["normalized_entropy"], bound)


def _against_served(
    config: GateConfig, window: WindowScores, label: Array, losses: Array, measured: dict[str, float]
) -> Iterator[Reason]:
    known = np.isfinite(window.served_probability) & (window.served_version > 0)
    base = entropy(label[known])
    measured["compared_examples"] = float(known.sum())
    if known.sum() < config.min_compared or base == 0.0:
        return
    differences = (losses[known] - log_loss(label[known], window.served_probability[known])) / base
    measured["entropy_over_served"] = float(differences.mean())
    bound = config.entropy_tolerance + config.num_standard_errors * _standard_error(differences)
    if measured["entropy_over_served"] > bound:
        message = f"the live versions predicted the same {int(known.sum())} examples better"
        yield Reason("entropy_worse", message, measured["entropy_over_served"], bound)


def _calibration(config: GateConfig, label: Array, probability: Array, measured: dict[str, float]) -> Iterator[Reason]:
    predicted, happened = float(probability.sum()), float(label.sum())
    # How far chance takes the number of positives, were the predictions true.
    margin = config.num_standard_errors * float(np.sqrt((probability * (1 - probability)).sum()))
    if happened > 0:
        measured["calibration"] = predicted / happened
    for bound, is_broken in (
        (config.max_calibration, predicted > config.max_calibration * (happened + margin)),
        (config.min_calibration, predicted < config.min_calibration * (happened - margin)),
    ):
        if is_broken:
            message = f"predicts {predicted:.1f} positives where {happened:.0f} happened"
            yield Reason("calibration", message, predicted / max(happened, 1.0), bound)


def _growth(config: GateConfig, norms: Norms, live: LiveView | None) -> Iterator[Reason]:
    if live is None:
        return
    for code, now, before in (
        ("row_norm", norms.row, live.norms.row),
        ("dense_norm", norms.dense, live.norms.dense),
    ):
        bound = config.norm_factor * max(before, config.norm_floor)
        if now > bound:
            yield Reason(code, f"is {now:.3g} where {before:.3g} was the largest of the versions before", now, bound)


def _norms(delta: Delta) -> Norms:
    # In float64: the square of a large float32 overflows.
    largest = [np.einsum("nd,nd->n", v, v).max(initial=0.0)
               for v in (rows.values.astype(np.float64) for table, rows in delta.rows.items()
                         if not table.startswith(COUNTERS))]  # fmt: skip
    dense = [np.square(tensor, dtype=np.float64).sum() for name, tensor in delta.dense.items()
             if not name.startswith((CALIBRATION, SCALING))]  # fmt: skip
    return Norms(float(np.sqrt(max(largest, default=0.0))), float(np.sqrt(sum(dense))))


def log_loss(label: Array, probability: Array) -> Array:
    """The loss of each prediction (N,), in nats."""
    p = np.clip(probability.astype(np.float64), _EPSILON, 1 - _EPSILON)
    losses: Array = -(label * np.log(p) + (1 - label) * np.log1p(-p))
    return losses


def entropy(label: Array) -> float:
    """The mean loss of always predicting the mean label: the divisor of normalized entropy (He et al. 2014)."""
    rate = float(label.mean()) if len(label) else 0.0
    return 0.0 if rate in (0.0, 1.0) else float(-(rate * np.log(rate) + (1 - rate) * np.log1p(-rate)))


def _standard_error(differences: Array) -> float:
    return float(differences.std() / np.sqrt(len(differences)))

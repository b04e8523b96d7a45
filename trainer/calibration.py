"""Online calibration: what the newest progressive predictions got wrong, as a monotone map of the logit.

    counts     by knot of the logit, fading: how many examples (n), clicks (y), clicks predicted (p);
               an example counts for the two knots beside it, by its distance
    line       a + b z, by logistic regression on the counts (Platt scaling): what holds in the tails, too
    shift      δ = log (y + m) / (p + m) - log (n - y + m) / (n - p + m), p being what the line predicts: the change
               of log odds that would have been right there, near 0 where the prior m outweighs what was seen
    segment    the same once more, p being what the map for everybody predicted: with little data it adds nothing
    map        line and shift, made to rise by pooling neighbours (isotonic regression), with a least slope

Only predictions made before their examples were learnt are counted, and the map that a prediction
went through is the one from before its batch. A correction that brings a click adds it where the model has
the example now; one that takes it back takes it away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from streams.contract.calibration import PREFIX, CalibrationMap, places_of, segment_ids, segment_places
from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.examples import ExampleBatch
from streams.contract.features import FeatureBatch
from streams.contract.schema import Schema
from trainer.reliability import Reliability
from trainer.tally import Floats

_NEWTON_STEPS = 8
_LINE_PRIOR = 30.0
"""Information, about clicks, that holds the line at the identity."""
_LINE_BOUNDS = ((-3.0, 0.2), (3.0, 3.0))
"""Of intercept and slope: a model further off than this needs more than calibration."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationConfig:
    """How the map is learnt."""

    segment: str | None = None
    """A categorical feature of user or context whose values have maps of their own; None: one map for all."""
    half_life_examples: int = 200_000
    """After so many examples, what was counted counts half."""
    prior: float = 1000.0
    """Clicks seen and predicted that are added at each knot: how much it takes to leave the identity."""
    refresh_examples: int = 2_000
    """Examples between two maps."""
    max_segments: int = 64
    lowest: float = -7.0
    highest: float = 3.0
    knots: int = 21
    least_slope: float = 0.05
    """Of the map: equal predictions stay equal, different ones different."""

    def __post_init__(self) -> None:
        for name, least in (("half_life_examples", 1), ("refresh_examples", 1), ("max_segments", 1), ("knots", 2)):
            if getattr(self, name) < least:
                raise InputError(f"must be at least {least}", field=f"calibration.{name}", value=getattr(self, name))
        values = self.prior, self.lowest, self.highest, self.least_slope
        if not (self.prior > 0 and self.lowest < self.highest and 0 < self.least_slope < 1):
            raise InputError("needs a prior above 0, lowest < highest and a least slope between 0 and 1",
                             field="calibration", value=values)  # fmt: skip


class OnlineCalibration:
    """Counts, the present map, and how calibrated recent predictions were before and after it."""

    def __init__(self, config: CalibrationConfig, schema: Schema) -> None:
        """The identity. Raises InputError where the schema has no such segment."""
        self.config = config
        self._key = _key_of(config.segment, schema)
        self.knots = np.linspace(config.lowest, config.highest, config.knots)
        self._counts = np.zeros((1, 3, config.knots))
        """n, y, p at each knot: row 0 for everybody, then by segment in order of first appearance."""
        self._ids: list[int] = []
        self._since = 0
        self.before, self.after = Reliability(), Reliability()
        self.map = self._learnt()

    def __call__(self, features: FeatureBatch, logit: Array) -> Array:
        """The calibrated logits (E,) float32 of logits (E,), by the present map."""
        return self.map.of_batch(features, logit)

    def learn(self, examples: ExampleBatch, features: FeatureBatch, logit: Array, calibrated: Array) -> None:
        """Counts E predictions, none of which is learnt yet; makes a new map where one is due."""
        share = 0.5 ** (len(examples) / self.config.half_life_examples)
        self._counts *= share
        fresh = np.where(examples.correction, 0.0, examples.weight).astype(np.float64)
        clicks = examples.weight * np.where(examples.correction, 2.0 * examples.label - 1.0, examples.label)
        self._count(self._rows(features), logit.astype(np.float64), calibrated.astype(np.float64), fresh, clicks)
        label, true = (column.astype(np.float64) for column in (examples.label, examples.true_probability))
        for reliability, logits in ((self.before, logit), (self.after, calibrated)):
            reliability.fade(share)
            reliability.add(label, logits.astype(np.float64), fresh, true)
            late = examples.correction
            reliability.correct(logits[late].astype(np.float64), clicks[late])
        self._since += len(examples)
        if self._since >= self.config.refresh_examples:
            self._since = 0
            self.map = self._learnt()

    def scores(self) -> dict[str, float]:
        """Expected calibration error and worst decile of recent predictions, before and after the map; the defined."""
        scores = {
            "calibration_error": self.after.expected_error(),
            "calibration_error_before": self.before.expected_error(),
            "worst_decile": self.after.worst_decile(),
            "worst_decile_before": self.before.worst_decile(),
        }
        return {name: score for name, score in scores.items() if not math.isnan(score)}

    def state(self) -> dict[str, Array]:
        """All that its future depends on, copies."""
        return {
            "counts": self._counts.copy(), "ids": np.array(self._ids, dtype=np.int64), "since": np.array(self._since),
            "before": self.before.state(), "after": self.after.state(), **self.map.tensors(),
        }  # fmt: skip

    def load_state(self, state: Mapping[str, Array]) -> None:
        """The inverse of `state`."""
        self._counts, self._ids = np.array(state["counts"]), state["ids"].tolist()
        self._since = int(state["since"])
        self.before.sums, self.after.sums = np.array(state["before"]), np.array(state["after"])
        knots, shifts, segments = (np.array(state[f"{PREFIX}{name}"]) for name in ("knots", "shifts", "segments"))
        self.map = CalibrationMap(knots, shifts, segments, self._key)

    def _rows(self, features: FeatureBatch) -> Array:
        """The row of counts (E,) of each example's segment; 0 for those beyond the most segments."""
        if self._key < 0:
            return np.zeros(len(features.request_index), dtype=np.int64)
        ids = segment_ids(features, self._key)
        for one in dict.fromkeys(ids.tolist()):
            if one not in self._ids and len(self._ids) < self.config.max_segments:
                self._ids.append(one)
                self._counts = np.concatenate([self._counts, np.zeros((1, *self._counts.shape[1:]))])
        rows = {one: row for row, one in enumerate(self._ids, start=1)}
        of_request = np.array([rows.get(one, 0) for one in ids.tolist()], dtype=np.int64)
        return of_request[features.request_index]

    def _count(self, rows: Array, logit: Floats, calibrated: Floats, fresh: Floats, clicks: Floats) -> None:
        """Row 0 counts everybody against the model's predictions, a segment's row its own against row 0's map."""
        place, along = places_of(self.knots, logit)
        predicted = fresh * _sigmoid(logit)
        self._add(np.zeros_like(rows), place, along, fresh, clicks, predicted)
        if self._key >= 0:
            everybody = self.map(logit, np.zeros_like(rows)).astype(np.float64)
            own = rows > 0
            predicted = fresh * _sigmoid(everybody)
            self._add(*(column[own] for column in (rows, place, along, fresh, clicks, predicted)))

    def _add(self, rows: Array, place: Array, along: Floats, fresh: Floats, clicks: Floats, predicted: Floats) -> None:
        knots = len(self.knots)
        for column, values in enumerate((fresh, clicks, predicted)):
            for knot, share in ((place, 1.0 - along), (place + 1, along)):
                flat = np.bincount(rows * knots + knot, weights=values * share, minlength=len(self._counts) * knots)
                self._counts[:, column] += flat.reshape(-1, knots)

    def _learnt(self) -> CalibrationMap:
        """The map of the present counts."""
        counts = self._counts.copy()
        intercept, slope = _line(counts[0])
        counts[0, 2] = counts[0, 0] * _sigmoid(intercept + slope * _mean_logits(counts[0]))
        shifts = _shifts(counts, self.config.prior)
        shifts[0] += intercept + (slope - 1.0) * self.knots
        shifts[1:] += shifts[0]
        order = np.argsort(np.array(self._ids, dtype=np.int64))
        shifts = np.stack([_rising(self.knots, row, self.config.least_slope) for row in shifts])
        ids = np.array(self._ids, dtype=np.int64)[order]
        return CalibrationMap(
            self.knots.astype(np.float32), shifts[np.r_[0, order + 1]].astype(np.float32), ids, self._key
        )


def _key_of(segment: str | None, schema: Schema) -> int:
    if segment is None:
        return -1
    places = {name: place for place, name in segment_places(schema).items()}
    if segment not in places:
        raise InputError("is no categorical feature of user or context", field="calibration.segment", value=segment,
                         remedy=f"use one of {', '.join(places) or 'none'}, or None")  # fmt: skip
    return places[segment]


def _line(counts: Floats) -> tuple[float, float]:
    """(a, b) of a + b z from counts (3, K), held near 0 and 1 where little was counted. Newton's, in short steps."""
    n, y, _ = counts
    logit = np.stack([np.ones_like(n), _mean_logits(counts)])
    begin = np.array([0.0, 1.0])
    line = begin
    for _ in range(_NEWTON_STEPS):
        q = _sigmoid(line @ logit)
        downhill = logit @ (y - n * q) - _LINE_PRIOR * (line - begin)
        step = np.linalg.solve((logit * n * q * (1.0 - q)) @ logit.T + _LINE_PRIOR * np.eye(2), downhill)
        line = np.clip(line + np.clip(step, -0.5, 0.5), *_LINE_BOUNDS)
    return float(line[0]), float(line[1])


def _mean_logits(counts: Floats) -> Floats:
    """The log odds (K,) of the mean prediction at each knot; 0 where nothing was counted."""
    n, _, p = counts
    safe = np.where(n > 0, n, 1.0)
    mean = np.clip(np.where(n > 0, p / safe, 0.5), 1e-6, 1.0 - 1e-6)
    logits: Floats = np.log(mean) - np.log1p(-mean)
    return logits


def _sigmoid(logit: Floats) -> Floats:
    probability: Floats = 1.0 / (1.0 + np.exp(np.clip(-logit, -700.0, 700.0)))
    return probability


def _shifts(counts: Floats, prior: float) -> Floats:
    """(rows, K) changes of log odds; counts (rows, 3, K) of n, y, p."""
    n, y, p = counts[:, 0], np.maximum(counts[:, 1], 0.0), counts[:, 2]
    shifts: Floats = np.log((y + prior) / (p + prior)) - np.log(
        (np.maximum(n - y, 0.0) + prior) / (np.maximum(n - p, 0.0) + prior)
    )
    return shifts


def _rising(knots: Floats, shift: Floats, least_slope: float) -> Floats:
    """The shifts (K,) nearest to these with which z + δ(z) rises at least so steeply (pool adjacent violators)."""
    level = (1.0 - least_slope) * knots + shift
    blocks: list[tuple[float, int]] = []
    for value in level.tolist():
        mean, size = value, 1
        while blocks and blocks[-1][0] > mean:
            before, length = blocks.pop()
            mean, size = (before * length + mean * size) / (length + size), length + size
        blocks.append((mean, size))
    pooled = np.repeat([mean for mean, _ in blocks], [size for _, size in blocks])
    rising: Floats = pooled + least_slope * knots - knots
    return rising

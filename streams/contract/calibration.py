"""The monotone map of logits that a version may carry: its form as dense tensors, and its one computation.

    z' = z + δ(z)      δ piecewise linear between K knots at equal distances, constant beyond them

There is one δ for everybody and one more for each of S segments, a segment being a value of one of the
request's single-valued keys; all candidates of a request are mapped alike, and z' rises with z, so a
request's ranking is what it was. Trainer and scorer compute it here, in float64, so both have one number.

    calibration.knots     (K,) float32, rising         calibration.shifts  (1 + S, K) float32, row 0 for everybody
    calibration.segments  (S,) int64, rising ids       calibration.key     (1,) int64: the key's place, -1 for none

A reader that does not know these tensors leaves them alone, and serves z.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streams.contract.columns import Array
from streams.contract.errors import FormatError
from streams.contract.features import FeatureBatch
from streams.contract.schema import Schema

PREFIX = "calibration."
_NAMES = ("knots", "shifts", "segments", "key")
_REMEDY = "publish the version again; see what writes to model-updates and to Redis"
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CalibrationMap:
    """knots (K,), shifts (1 + S, K), segments (S,) rising, and the place of their key among the request's."""

    knots: Array
    shifts: Array
    segments: Array
    key: int = -1

    def tensors(self) -> dict[str, Array]:
        """As a version carries it beside its dense parameters."""
        return {
            f"{PREFIX}knots": self.knots.astype(np.float32),
            f"{PREFIX}shifts": self.shifts.astype(np.float32),
            f"{PREFIX}segments": self.segments.astype(np.int64),
            f"{PREFIX}key": np.array([self.key], dtype=np.int64),
        }

    def __call__(self, logit: Array, rows: Array) -> Array:
        """Logits (E,) to calibrated ones (E,) float32; `rows` (E,) are rows of `shifts`."""
        logit = logit.astype(np.float64)
        place, share = places_of(self.knots, logit)
        below, above = self.shifts[rows, place].astype(np.float64), self.shifts[rows, place + 1].astype(np.float64)
        calibrated: Array = (logit + below * (1.0 - share) + above * share).astype(np.float32)
        return calibrated

    def rows_of(self, ids: Array) -> Array:
        """The row of `shifts` for each segment id (N,): 0 where the segment has none of its own."""
        if not len(self.segments):
            return np.zeros(len(ids), dtype=np.int64)
        place = np.minimum(np.searchsorted(self.segments, ids), len(self.segments) - 1)
        rows: Array = np.where(self.segments[place] == ids, place + 1, 0)
        return rows

    def of_batch(self, batch: FeatureBatch, logit: Array) -> Array:
        """The calibrated logits (E,) float32 of a batch's logits (E,)."""
        if self.key < 0:
            return self(logit, np.zeros(len(logit), dtype=np.int64))
        return self(logit, self.rows_of(segment_ids(batch, self.key))[batch.request_index])


def places_of(knots: Array, logit: Floats) -> tuple[Array, Floats]:
    """(the knot at or below each logit (E,), how far it is to the next, 0 to 1); ends for what lies beyond them."""
    first, step = float(knots[0]), float(knots[1]) - float(knots[0])
    along = np.clip((logit - first) / step, 0.0, len(knots) - 1.0)
    place = np.minimum(along.astype(np.int64), len(knots) - 2)
    return place, along - place


def segment_ids(batch: FeatureBatch, key: int) -> Array:
    """The ids (R,) of the request's single-valued key at that place."""
    start = int(batch.request.lengths[:key].sum())
    ids: Array = batch.request.ids[start : start + batch.request.lengths.shape[1]]
    return ids


def calibration_from(dense: Mapping[str, Array], schema: Schema) -> CalibrationMap | None:
    """The map among a version's tensors; None where it carries none. Raises FormatError naming what does not fit."""
    if not any(name.startswith(PREFIX) for name in dense):
        return None
    parts = [dense.get(PREFIX + name) for name in _NAMES]
    for name, part in zip(_NAMES, parts, strict=True):
        if part is None:
            raise FormatError("is missing", field=f"dense.{PREFIX}{name}", remedy=_REMEDY)
    knots, shifts, segments, key = (np.asarray(part) for part in parts)
    checks = {
        "knots": knots.ndim == 1 and len(knots) > 1 and np.allclose(np.diff(knots), knots[1] - knots[0], atol=1e-4)
        and knots[1] > knots[0],
        "segments": segments.ndim == 1 and segments.dtype.kind == "i" and bool((np.diff(segments) > 0).all()),
        "shifts": shifts.shape == (1 + len(segments), len(knots)) and rises(knots, shifts),
        "key": key.shape == (1,) and (int(key[0]) == -1 or int(key[0]) in segment_places(schema)),
    }  # fmt: skip
    for name, holds in checks.items():
        if not holds:
            raise FormatError("is no calibration of this schema", field=f"dense.{PREFIX}{name}", remedy=_REMEDY)
    return CalibrationMap(knots, shifts, segments, int(key[0]))


def rises(knots: Array, shifts: Array) -> bool:
    """Whether z + δ(z) rises with z for every row of shifts; False where one is not finite."""
    return bool((np.diff(knots.astype(np.float64) + shifts.astype(np.float64), axis=1) > 0.0).all())


def segment_places(schema: Schema) -> dict[int, str]:
    """Place among the request's sparse keys -> name, of those that always hold one value and are no cross."""
    single = {feature.name for feature in schema.features if feature.kind == "categorical"}
    return {n: key.name for n, key in enumerate(schema.sparse(of_request=True)) if key.name in single}

"""Numbers for learners that are linear in their features: standardised by what was seen so far, and in buckets.

Mean and deviation are those of all examples up to and with the present batch, without their labels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from streams.contract.columns import Array
from trainer.peers.config import NumberForm
from trainer.peers.flat import Flat

_WIDEST = 5.0
"""Standardised numbers are cut off there."""
_BUCKETS_A_DEVIATION = 2


class NumberForms:
    """Examples with their numbers in the form asked for."""

    def __init__(self, num_numbers: int, form: NumberForm) -> None:
        self._form = form
        self._count = 0
        self._mean = np.zeros(num_numbers)
        self._squares = np.zeros(num_numbers)
        """Sums of squared differences from the mean."""

    def __call__(self, flat: Flat) -> Flat:
        """Numbers standardised, or none, and one key more for each that is told by its bucket."""
        self._see(flat.dense.astype(np.float64))
        deviation = np.sqrt(self._squares / max(self._count, 1))
        scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
        standard = np.clip((flat.dense - self._mean) * scale, -_WIDEST, _WIDEST).astype(np.float32)
        shaped = replace(flat, dense=standard if self._form != "buckets" else standard[:, :0])
        return shaped if self._form == "values" else _with_buckets(shaped, standard)

    def _see(self, dense: npt.NDArray[np.float64]) -> None:
        """Merges the moments of a batch (Chan et al. 1979)."""
        if not len(dense):
            return
        mean, total = dense.mean(axis=0), self._count + len(dense)
        apart = mean - self._mean
        self._squares += ((dense - mean) ** 2).sum(axis=0) + apart**2 * self._count * len(dense) / total
        self._mean += apart * len(dense) / total
        self._count = total


def _with_buckets(flat: Flat, standard: Array) -> Flat:
    buckets = np.floor(standard * _BUCKETS_A_DEVIATION).astype(np.int64)
    ones = np.ones(buckets.T.shape, dtype=np.int32)
    return replace(
        flat, ids=np.concatenate([flat.ids, buckets.T.ravel()]), lengths=np.concatenate([flat.lengths, ones])
    )

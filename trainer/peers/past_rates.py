"""Ids as numbers for trees: how often each was seen before, and how often it was clicked then.

Counts are of earlier batches alone, so what a label adds is seen by later examples only: ordered target statistics
(Prokhorenkova et al. 2018).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streams.contract.columns import Array
from streams.contract.idmap import IdMap
from trainer.peers.flat import Flat

Floats = npt.NDArray[np.float64]


class PastRates:
    """Shows and clicks by key and id."""

    def __init__(self, smoothing: float) -> None:
        """`smoothing`: how many shows the rate of everything weighs in a rate."""
        self._smoothing = smoothing
        self._slots = IdMap()
        self._sums = np.zeros((2, 1024))
        self._all = np.zeros(2)

    def __call__(self, flat: Flat) -> Array:
        """(E, 2 F) float32: for each key ln(1 + shows) and the logit of the smoothed rate; of a bag the means."""
        keys, bags = _places(flat)
        slots = self._slots.lookup(keys, flat.ids).astype(np.int64)
        shows, clicks = np.where(slots >= 0, self._sums[:, slots], 0.0)
        prior = (self._all[1] + 1) / (self._all[0] + 10)
        rate = (clicks + self._smoothing * prior) / (shows + self._smoothing)
        columns = [np.log1p(shows), np.log(rate / (1 - rate))]
        size = flat.lengths.size
        sums = np.stack([np.bincount(bags, column, size) for column in columns])
        means = sums / np.maximum(flat.lengths.ravel(), 1)
        columns_by_key: Array = means.reshape(2 * len(flat.lengths), -1).T.astype(np.float32)
        return columns_by_key

    def learn(self, flat: Flat, label: Array, weight: Array) -> None:
        """Adds the outcomes of the examples."""
        keys, bags = _places(flat)
        slots = self._admitted(keys, flat.ids)
        example = bags % max(len(flat), 1)
        for place, amount in enumerate((weight, weight * label)):
            self._sums[place] += np.bincount(slots, amount[example], self._sums.shape[1])
            self._all[place] += amount.sum()

    def _admitted(self, keys: npt.NDArray[np.int16], ids: Array) -> Array:
        slots = self._slots.lookup(keys, ids)
        missing = np.flatnonzero(slots < 0)
        new = np.unique(np.stack([keys[missing].astype(np.int64), ids[missing]]), axis=1)
        first = len(self._slots)
        self._slots.insert(new[0].astype(np.int16), new[1], np.arange(first, first + new.shape[1], dtype=np.int32))
        while len(self._slots) > self._sums.shape[1]:
            self._sums = np.concatenate([self._sums, np.zeros_like(self._sums)], axis=1)
        return self._slots.lookup(keys, ids).astype(np.int64) if len(missing) else slots.astype(np.int64)


def _places(flat: Flat) -> tuple[npt.NDArray[np.int16], Array]:
    """The key (n,) and the bag (n,) of each id."""
    num_keys, num_examples = flat.lengths.shape
    bags = np.repeat(np.arange(num_keys * num_examples), flat.lengths.ravel())
    return (bags // max(num_examples, 1)).astype(np.int16), bags

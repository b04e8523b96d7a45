"""Whether one recipe predicts the same examples better than another: a paired block bootstrap.

Consecutive examples depend on each other (sessions, hours), so whole blocks of them are drawn with
replacement (Künsch 1989), the same blocks for both recipes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.tally import Floats

BLOCK_EXAMPLES = 200
_MOST_BLOCKS = 4000
_RESAMPLES = 2000


class BlockSums:
    """Loss, label and weight summed over blocks of consecutive examples; blocks double beyond 4,000 of them."""

    def __init__(self, block: int = BLOCK_EXAMPLES) -> None:
        self._block = block
        self._sums = np.zeros((3, 0))
        self._count = 0

    def add(self, loss: Floats, label: Floats, weight: Floats) -> None:
        """The next N examples (N,)."""
        blocks = (self._count + np.arange(len(loss))) // self._block
        self._count += len(loss)
        needed = -(-self._count // self._block)
        sums = np.zeros((3, needed))
        sums[:, : self._sums.shape[1]] = self._sums
        for row, values in enumerate((loss * weight, label * weight, weight)):
            sums[row] += np.bincount(blocks, weights=values, minlength=needed)
        self._sums = sums
        while self._sums.shape[1] > _MOST_BLOCKS:
            self._double()

    def sums(self) -> npt.NDArray[np.float64]:
        """(3, blocks): loss, label, weight."""
        return self._sums

    def _double(self) -> None:
        odd = self._sums.shape[1] % 2
        even = np.concatenate([self._sums, np.zeros((3, odd))], axis=1)
        self._sums = even[:, 0::2] + even[:, 1::2]
        self._block *= 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """NE(a) - NE(b) on the same examples, negative where a is better, with the 95 % interval of the bootstrap."""

    a: str
    b: str
    delta_ne: float
    ci95: tuple[float, float]


def compare(a: str, b: str, sums_a: list[BlockSums], sums_b: list[BlockSums], *, seed: int = 0) -> Paired:
    """Compares recipes by the mean of each one's seeds; all must have seen the same examples."""
    of_a, of_b = (np.mean([each.sums() for each in sums], axis=0) for sums in (sums_a, sums_b))
    blocks = of_a.shape[1]
    assert of_a.shape == of_b.shape, "the same examples in the same order"
    draws = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), size=_RESAMPLES)
    low, high = np.nanpercentile(_delta(draws.astype(np.float64), of_a, of_b), [2.5, 97.5])
    return Paired(a=a, b=b, delta_ne=float(_delta(np.ones((1, blocks)), of_a, of_b)[0]), ci95=(float(low), float(high)))


def _delta(times: Floats, of_a: Floats, of_b: Floats) -> Floats:
    """NE(a) - NE(b) where block i is taken times[:, i] times; nan where only one label was drawn."""
    mean = (times @ of_a[1]) / (times @ of_a[2])
    with np.errstate(divide="ignore", invalid="ignore"):
        base = -(mean * np.log(mean) + (1 - mean) * np.log1p(-mean))
        deltas: Floats = (times @ (of_a[0] - of_b[0])) / (times @ of_a[2]) / base
    return deltas

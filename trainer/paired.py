"""Whether one recipe predicts the same examples better than another: a paired block bootstrap.

Consecutive examples depend on each other (sessions, hours), so whole blocks of consecutive ones, that is
stretches of time, are drawn with replacement (Künsch 1989), the same blocks for both recipes. Within each
draw the seeds are drawn, too, the same for both: the interval holds what the data and what the first weights do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.tally import Floats

BLOCK_EXAMPLES = 200
_MOST_BLOCKS = 400
_RESAMPLES = 2000


class BlockSums:
    """Loss, label and weight summed over blocks of consecutive examples; blocks double beyond 400 of them."""

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
    """NE(a) - NE(b) on the same examples, negative where a is better, with the 95 % interval of the bootstrap.

    All three are nan where the examples have one label alone: normalized entropy is not defined then.
    """

    a: str
    b: str
    delta_ne: float
    ci95: tuple[float, float]
    num_blocks: int = 0
    """Stretches of time that were drawn from."""


def compare(a: str, b: str, sums_a: list[BlockSums], sums_b: list[BlockSums], *, seed: int = 0) -> Paired:
    """Compares recipes by the mean of each one's seeds, in the same order; all must have seen the same examples."""
    of_a, of_b = (np.stack([each.sums() for each in sums]) for sums in (sums_a, sums_b))
    assert of_a.shape == of_b.shape, "the same seeds, and the same examples in the same order"
    num_seeds, _, blocks = of_a.shape
    rng, losses = np.random.default_rng(seed), of_a[:, 0] - of_b[:, 0]
    times = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=_RESAMPLES).astype(np.float64)
    seeds = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=_RESAMPLES) / num_seeds
    deltas = _delta(times, seeds, losses, of_a[0])
    drawn = deltas[~np.isnan(deltas)]
    low, high = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else (np.nan, np.nan)
    all_of_it = _delta(np.ones((1, blocks)), np.full((1, num_seeds), 1 / num_seeds), losses, of_a[0])
    return Paired(a=a, b=b, delta_ne=float(all_of_it[0]), ci95=(float(low), float(high)), num_blocks=blocks)


def _delta(times: Floats, seeds: Floats, losses: Floats, sums: Floats) -> Floats:
    """NE(a) - NE(b) (R,) where block i is taken times[:, i] times and seed s weighs seeds[:, s].

    losses (S, blocks): of a less of b; sums (3, blocks). nan where only one label was drawn.
    """
    mean = (times @ sums[1]) / (times @ sums[2])
    with np.errstate(divide="ignore", invalid="ignore"):
        base = -(mean * np.log(mean) + (1 - mean) * np.log1p(-mean))
        deltas: Floats = ((times @ losses.T) * seeds).sum(axis=1) / (times @ sums[2]) / base
    return deltas

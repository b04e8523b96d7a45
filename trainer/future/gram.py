"""Inner products of gradients: all that mixing weights can be learnt from.

    g_0 .. g_{b-1}  gradients of the newest b rounds at one theta, newest first;  g_t  the target's

    |sum_i a_i g_i - g_t|^2  =  a' G a - 2 a' h + |g_t|^2        G_ij = <g_i, g_j>,  h_i = <g_i, g_t>

A mini-batch's <g_i, g_i> holds the variance of its noise, which would push every weight towards
uniform. So each gradient comes as two independent halves, and a diagonal entry is the product of
one half with the other: unbiased, but not always positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Gram:
    """among (b, b): G; with_target (b,): h; target: |g_t|^2; size: mean |g|^2 with its noise, never below 0."""

    among: Floats
    with_target: Floats
    target: float
    size: float

    def loss(self, weights: Floats) -> float:
        """|sum_i a_i g_i - g_t|^2 for weights a (b,); below 0 only by the noise of the halves."""
        return float(weights @ self.among @ weights - 2 * weights @ self.with_target + self.target)

    def gradient(self, weights: Floats) -> Floats:
        """Of the loss by the weights: 2 (G a - h)."""
        gradient: Floats = 2.0 * (self.among @ weights - self.with_target)
        return gradient

    def scaled(self, factor: float) -> Gram:
        """All products times `factor`."""
        return Gram(self.among * factor, self.with_target * factor, self.target * factor, self.size * factor)

    def definite(self) -> Gram:
        """The nearest one whose G has no negative eigenvalue, along which free weights would run away."""
        values, vectors = np.linalg.eigh(self.among)
        return Gram(vectors * np.maximum(values, 0.0) @ vectors.T, self.with_target, self.target, self.size)


def gram_of(halves: npt.NDArray[np.float32]) -> Gram:
    """Of half-batch gradients (b + 1, 2, P), the target last: the mean of two halves is the gradient."""
    first, second = (np.ascontiguousarray(halves[:, half], dtype=np.float64) for half in (0, 1))
    whole = (first + second) / 2
    products = whole @ whole.T
    size = float(np.diag(products).mean())
    np.fill_diagonal(products, np.einsum("ip,ip->i", first, second))
    return Gram(products[:-1, :-1], products[:-1, -1], float(products[-1, -1]), size)


def relative(grams: Sequence[Gram]) -> list[Gram]:
    """Scaled by the gradients' mean squared length, noise and all: no product is much above 1.

    Where noise outweighs the gradients, all products come out small, and little is learnt from them.
    """
    scale = max(float(np.mean([gram.size for gram in grams])), 1e-30)
    return [gram.scaled(1.0 / scale) for gram in grams]


def mean_gram(grams: Sequence[Gram]) -> Gram:
    """The Gram whose loss is the mean of theirs."""
    return Gram(
        np.mean([gram.among for gram in grams], axis=0),
        np.mean([gram.with_target for gram in grams], axis=0),
        float(np.mean([gram.target for gram in grams])),
        float(np.mean([gram.size for gram in grams])),
    )


def best_on_simplex(grams: Sequence[Gram], *, steps: int = 2000) -> Floats:
    """The weights (b,) with the least mean loss, at least 0 and 1 in all: the best fixed ones in hindsight."""
    total = mean_gram(grams)
    rate = 1.0 / max(2.0 * float(np.linalg.norm(total.among, 2)), 1e-30)
    weights = np.full(len(total.with_target), 1.0 / len(total.with_target))
    for _ in range(steps):
        weights = _onto_simplex(weights - rate * total.gradient(weights))
    return weights


def _onto_simplex(point: Floats) -> Floats:
    """The nearest point of the simplex (Duchi et al. 2008)."""
    descending = np.sort(point)[::-1]
    excess = (np.cumsum(descending) - 1.0) / np.arange(1, len(point) + 1)
    last = int(np.flatnonzero(descending > excess)[-1])
    projected: Floats = np.maximum(point - excess[last], 0.0)
    return projected

"""How sure the scores are: probabilities are softmax(scores / temperature).

What ranks best need not be calibrated: a recommender whose parts were weighed by its ranking is often too sure. One
number puts that right (Guo et al. 2017): for the figures, for the gradient, and for whoever weighs served scores
against others. No rank depends on it.
"""

from __future__ import annotations

import math

from streams.contract.columns import Array

_FIRST_SUM = 1e-3


class Temperature:
    """Its logarithm learns by Adagrad: begun by what was best on validation likes."""

    def __init__(self, value: float) -> None:
        self.log = math.log(value)
        self.sum = _FIRST_SUM

    @property
    def value(self) -> float:
        """The temperature, above 0."""
        return math.exp(self.log)

    def descend(self, slopes: Array, rate: float) -> None:
        """One step down the mean of the likes' slopes (L,), which are of the loss by the temperature's logarithm."""
        slope = float(slopes.mean())
        if math.isfinite(slope):
            self.sum += slope * slope
            self.log -= rate * slope / math.sqrt(self.sum)

"""Mixing weights by exponentiated gradient: a_{t+1} proportional to a_t exp(-rate * gradient of the loss).

The theorem of future gradient descent is proven for this variant. With gradients no longer than M
and T rounds, its regret against the best fixed weights is at most log(b) / rate + 32 rate M^4 T.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from streams.contract.columns import Array
from trainer.future.gram import Floats, Gram
from trainer.future.summary import Summary


class ExponentiatedGradient:
    """Weights on the simplex, uniform at first."""

    def __init__(self, num_rounds: int, rate: float) -> None:
        self._rate = rate
        self._logits = np.zeros(num_rounds)

    def observe(self, t: int, summary: Summary) -> None:
        """Ignored: only the gradients speak."""

    def learn(self, t: int, grams: Sequence[Gram]) -> None:
        """One step along the mean of the losses."""
        now = self.weights(t)
        self._logits = self._logits - self._rate * np.mean([gram.gradient(now) for gram in grams], axis=0)
        self._logits -= self._logits.max()

    def weights(self, t: int) -> Floats:
        powers = np.exp(self._logits)
        weights: Floats = powers / powers.sum()
        return weights

    def state(self) -> dict[str, Array]:
        return {"logits": self._logits.copy()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        self._logits = np.array(state["logits"], dtype=np.float64)


def best_rate(num_rounds: int, rounds: int, longest: float) -> float:
    """The rate that makes the bound least: sqrt(log b / (32 T M^4)); `longest` is M."""
    return float(np.sqrt(np.log(num_rounds) / (32.0 * rounds * longest**4)))


def regret_bound(num_rounds: int, rounds: int, longest: float, rate: float) -> float:
    """What the summed loss may exceed that of any fixed weights by, after so many rounds; `longest` is M."""
    return float(np.log(num_rounds) / rate + 32.0 * rate * longest**4 * rounds)

"""Who says how much each of the newest b rounds counts, behind one protocol; here those that learn nothing.

observe(t, summary)   round t's examples have come
learn(t, grams)       gradients of rounds t-1 .. t-b against round t's, measured
weights(t)            (b,), newest first: what is learnt from rounds t-1 .. t-b to serve round t
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from streams.contract.columns import Array
from trainer.future.gram import Floats, Gram, mean_gram
from trainer.future.summary import Summary


class Mixer(Protocol):
    """Mixing weights by round. `weights` changes nothing; only `observe` and `learn` do, in the order of rounds."""

    def observe(self, t: int, summary: Summary) -> None:
        """Round t's examples have come; a round may be observed again as it grows."""

    def learn(self, t: int, grams: Sequence[Gram]) -> None:
        """Takes Gram matrices of rounds t-1 .. t-b with target t."""

    def weights(self, t: int) -> Floats:
        """(b,) newest first, from what is known of rounds before t."""

    def state(self) -> dict[str, Array]:
        """All that later weights depend on."""

    def load_state(self, state: Mapping[str, Array]) -> None:
        """The inverse of `state`."""


class FixedWeights:
    """The same weights in every round, newest first. Uniform ones are the batch window."""

    def __init__(self, weights: Sequence[float]) -> None:
        self._weights = np.array(weights, dtype=np.float64)

    def observe(self, t: int, summary: Summary) -> None:
        """Ignored."""

    def learn(self, t: int, grams: Sequence[Gram]) -> None:
        """Ignored."""

    def weights(self, t: int) -> Floats:
        return self._weights.copy()

    def state(self) -> dict[str, Array]:
        return {}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """There is none."""


class RandomWeights(FixedWeights):
    """Uniform on the simplex, drawn anew for each round: a function of seed and round."""

    def __init__(self, num_rounds: int, seed: int) -> None:
        super().__init__([1.0 / num_rounds] * num_rounds)
        self._seed = seed

    def weights(self, t: int) -> Floats:
        drawn: Floats = np.random.default_rng([self._seed, t]).dirichlet(np.ones(len(self._weights)))
        return drawn


class RecordedGrams(FixedWeights):
    """Uniform, and keeps what was measured: the first pass of weights that are known in hindsight."""

    def __init__(self, num_rounds: int) -> None:
        super().__init__([1.0 / num_rounds] * num_rounds)
        self.grams: list[Gram] = []

    def learn(self, t: int, grams: Sequence[Gram]) -> None:
        """Keeps the mean of a round's, so that every round counts the same."""
        self.grams.append(mean_gram(grams))

    def state(self) -> dict[str, Array]:
        keys = ("among", "with_target", "target", "size")
        return {key: np.array([getattr(gram, key) for gram in self.grams]) for key in keys}

    def load_state(self, state: Mapping[str, Array]) -> None:
        rows = zip(state["among"], state["with_target"], state["target"], state["size"], strict=True)
        self.grams = [Gram(among, of_target, float(target), float(size)) for among, of_target, target, size in rows]


def uniform(num_rounds: int) -> FixedWeights:
    """The batch window: every round the same."""
    return FixedWeights([1.0 / num_rounds] * num_rounds)


def newest_only(num_rounds: int) -> FixedWeights:
    """Only the newest round."""
    return FixedWeights([1.0] + [0.0] * (num_rounds - 1))


def decaying(num_rounds: int, decay: float) -> FixedWeights:
    """Each older round counts `decay` times the one newer."""
    powers = decay ** np.arange(num_rounds)
    return FixedWeights((powers / powers.sum()).tolist())

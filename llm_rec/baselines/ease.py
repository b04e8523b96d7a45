"""EASE: the linear model that tells each item from all others, in closed form.

Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, equations 4 to 8 and algorithm 1:
with G = X'X + lambda I and P = inverse of G, the weights are B_ij = -P_ij / P_jj and B_jj = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llm_rec.baselines.incidence import incidence
from llm_rec.interactions import Catalogue
from llm_rec.item_weights import closed_form, liked_together
from llm_rec.splits import Split
from streams.contract.columns import Array
from streams.contract.values import Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class EaseConfig:
    """lambda, the weight of the squared norm of B."""

    l2: float = 200.0


class Ease:
    """Scores are history times weights."""

    name = "ease"

    def __init__(self, config: EaseConfig) -> None:
        self._config = config
        self._weights = np.zeros((0, 0), dtype=np.float32)

    def fit(self, split: Split, catalogue: Catalogue, *, seed: int) -> None:
        """Inverts the (J, J) matrix of items liked together. Raises TooLargeError beyond MOST_ITEMS items."""
        weights = closed_form(liked_together(split.train, len(split.items)), self._config.l2)
        self._weights = weights.astype(np.float32)

    def scores(self, users: Array, histories: list[Array]) -> Floats:
        """(B, J)."""
        scores: Floats = incidence(histories, len(self._weights)) @ self._weights
        return scores

"""Two models' opinions of the same items as one score.

    score_i = w_c · logit(p_i) + w_g · (l_i - mean(l)) + offset

p_i is the CTR model's click probability, l_i the recommender's logarithm of the probability that item i
is the next like. l is centred over the items that were retrieved, since its level tells how many items
there are and how the user's probability spreads over them, not how good these few are. Both terms are then
logarithms of odds, in nats: w_c = w_g = 1 multiplies the two experts' odds (Hinton, "Training products of
experts by minimizing contrastive divergence", 2002, equation 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.recommend_wire import MAX_ITEMS

_LEAST = 1e-7


@dataclass(frozen=True, kw_only=True, slots=True)
class BlendConfig:
    """How many items the recommender proposes, and how much either model counts."""

    num_retrieved: int = 100
    ctr_weight: float = 1.0
    generative_weight: float = 1.0
    """Both experts alike: of the weights in `freshet bench blend` the one that finds most without a loss in AUC."""
    offset: float = 0.0
    """Added to every score of a blend, for who compares them with scores from elsewhere."""

    def __post_init__(self) -> None:
        if not 1 <= self.num_retrieved <= MAX_ITEMS:
            raise InputError(f"must be 1 to {MAX_ITEMS}", field="blend.num_retrieved", value=self.num_retrieved)
        for name in ("ctr_weight", "generative_weight"):
            if not 0 <= getattr(self, name) < np.inf:
                raise InputError("must be a finite number, 0 or more", field=f"blend.{name}", value=getattr(self, name))


def blended(config: BlendConfig, log_probabilities: Array, click_probabilities: Array) -> Array:
    """Scores (N,) float32 of N items from the recommender's (N,) and the CTR model's (N,) opinions."""
    if not len(log_probabilities):
        return np.zeros(0, dtype=np.float32)
    clipped = np.clip(click_probabilities.astype(np.float64), _LEAST, 1 - _LEAST)
    logits = np.log(clipped) - np.log1p(-clipped)
    centred = log_probabilities - log_probabilities.mean()
    scores: Array = config.ctr_weight * logits + config.generative_weight * centred + config.offset
    return scores.astype(np.float32)

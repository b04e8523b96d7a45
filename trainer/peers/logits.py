"""Probabilities that a library gives, as logits."""

from __future__ import annotations

import math

_SMALLEST = 1e-7


def logit_of(probability: float) -> float:
    """The logit of a probability, which is taken for no nearer to 0 or 1 than 1e-7."""
    inside = min(max(probability, _SMALLEST), 1.0 - _SMALLEST)
    return math.log(inside / (1.0 - inside))

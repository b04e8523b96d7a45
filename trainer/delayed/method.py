"""What every method of delayed feedback is: two weights an example.

    loss = -(positive * log f + negative * log(1 - f))        f = the model's probability

The weights are constants of the step (the papers' [.]): they are computed from detached values, so
that gradients reach the model through log f and log(1 - f) alone, and the heads through their own loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from torch.nn.functional import logsigmoid


@dataclass(frozen=True, slots=True)
class Arrived:
    """E examples as the join emitted them; all (E,), detached.

    f            the model's probability before this step
    label        0 or 1 float32, as it is known now
    correction   bool: a click that came after its example was emitted as a negative
    dp           P(clicked, after the window)
    rn           P(never clicked | not clicked within the window)
    """

    f: Tensor
    label: Tensor
    correction: Tensor
    dp: Tensor
    rn: Tensor


@dataclass(frozen=True, slots=True)
class Weights:
    """Of log f and of log(1 - f), each (E,); a negative weight takes back what was learnt before."""

    positive: Tensor
    negative: Tensor


class Method(Protocol):
    """One way to learn from labels that may still change. Stateless."""

    needs_heads: bool

    def weigh(self, arrived: Arrived) -> Weights:
        """The weights of E examples. Without heads, `dp` is 0 and `rn` 1."""

    def weigh_late(self, dp: Tensor, correction: Tensor) -> Weights:
        """The weights of log dp and log(1 - dp) in the head's own loss; dp (E,) detached."""


def weighted_loss(logits: Tensor, weights: Weights) -> Tensor:
    """(E,) each -> the sum's terms (E,), with gradients through `logits` alone."""
    loss: Tensor = -(weights.positive * logsigmoid(logits) + weights.negative * logsigmoid(-logits))
    return loss

"""Losses that look at the scores of an earlier version of the model, whose weights are constants in them.

    ReLoop   (1 - a) ce(y, p) + a ( y max(q - p, 0) + (1 - y) max(p - q, 0) )       p now, q the earlier version
    IncCTR   (1 - a) ce(y, p) + a ce( sig(zq / tau), sig(z / tau) )                 z, zq their logits

ReLoop: Cai et al., SIGIR 2022. IncCTR: Wang et al. 2020, in the form in which ASMG compares with it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from trainer.strategies.config import TeacherConfig


def taught_losses(logits: Tensor, label: Tensor, earlier: Tensor, config: TeacherConfig) -> Tensor:
    """Both losses of E examples in their shares: logits, label, the earlier version's logits (E,) -> (E,)."""
    of_label = binary_cross_entropy_with_logits(logits, label, reduction="none")
    if config.loss == "worse":
        second = worse_than(logits, label, earlier)
    else:
        second = distilled(logits, earlier, config.temperature)
    return (1 - config.share) * of_label + config.share * second


def worse_than(logits: Tensor, label: Tensor, earlier: Tensor) -> Tensor:
    """How much further from the label (E,) the probability is than the earlier one; 0 where it is nearer."""
    further = torch.sigmoid(logits) - torch.sigmoid(earlier)
    return torch.relu(torch.where(label > 0.5, -further, further))


def distilled(logits: Tensor, earlier: Tensor, temperature: float) -> Tensor:
    """Cross-entropy (E,) to the earlier probabilities, both at the same temperature."""
    target = torch.sigmoid(earlier / temperature)
    return binary_cross_entropy_with_logits(logits / temperature, target, reduction="none")

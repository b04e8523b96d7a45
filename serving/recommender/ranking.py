"""The best items of each user, out of what may be recommended."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from streams.contract.columns import Array


@torch.no_grad()
def best(logits: Tensor, excluded: Sequence[Array], most: int) -> list[tuple[Array, Array]]:
    """(numbers (K,) int64, logarithms of probabilities (K,) float32) of each user's items, best first; K <= `most`.

    logits (B, J), which are overwritten; -inf is not ranked. Probabilities are among all items that are
    ranked; those `excluded`, numbers below J, are left out of the list alone.
    """
    among_all = logits.logsumexp(1, keepdim=True)
    for row, numbers in enumerate(excluded):
        logits[row, torch.from_numpy(numbers)] = -torch.inf
    top = logits.topk(min(most, logits.shape[1]))
    scores, numbers = (top.values - among_all).cpu().numpy(), top.indices.cpu().numpy()
    kept = np.isfinite(scores)
    return [(numbers[row, kept[row]], scores[row, kept[row]]) for row in range(len(scores))]

"""How far a negative weight may climb the loss of its examples.

    descended:   sum of share * loss, over examples with a share above 0
                 - sum of |share| * min(loss, bound), over those with a share below 0

The cross-entropy has no upper end, so that without the bound the sum has no lower one, and the model runs
away along it. `bound` is the loss of a logit that is `reach` on the wrong side of the log odds of the mean
label: the same way up for negatives and down for positives, so that an ascent moves no mean prediction by
its bound alone. Beyond it the example pushes no further.
"""

from __future__ import annotations

import torch
from torch import Tensor


def within_reach(logits: Tensor, label: Tensor, weight: Tensor, reach: float) -> Tensor:
    """The weights (E,), those below 0 set to 0 where the loss is at its bound; logits, label (E,)."""
    base = log_odds(label)
    wrong_side = torch.where(label > 0.5, base - logits, logits - base)
    return torch.where((weight < 0) & (wrong_side > reach), torch.zeros_like(weight), weight)


def log_odds(label: Tensor) -> Tensor:
    """Of the mean of E labels, half an example of each kind added, so that it is finite."""
    positives = label.sum() + 0.5
    return torch.log(positives / (len(label) + 1.0 - positives))

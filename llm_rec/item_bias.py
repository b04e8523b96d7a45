"""A bias for each item: the recommender begins at popularity, and learns what else there is to know.

Where a softmax has no bias, its embeddings have to learn first how often each item is liked at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from llm_rec.models import Models
from streams.contract.columns import Array


def add_item_bias(models: Models, likes: Sequence[Array]) -> None:
    """Gives the items a bias that begins at the logarithm of their likes, which are item numbers of each user."""
    models.bias = nn.Parameter(log_likes(likes, models.vocabulary.num_items).to(models.device))


def log_likes(likes: Sequence[Array], num_items: int) -> Tensor:
    """(J,) float32: the logarithm of one more than each item's likes, less its mean, so that 0 is an average item."""
    counts = np.bincount(np.concatenate([*likes, np.zeros(0, dtype=np.int64)]), minlength=num_items)
    logs = np.log1p(counts.astype(np.float64))
    return torch.from_numpy((logs - logs.mean()).astype(np.float32))

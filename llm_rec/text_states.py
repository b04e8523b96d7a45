"""What a language model makes of texts: the mean of its hidden states over each text's words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from llm_rec.batches import Batch, batch_of, rows_sorted
from llm_rec.documents import Document
from streams.contract.columns import Array

_ROWS_AT_ONCE = 64


@torch.no_grad()
def mean_states(states: Callable[[Batch], Tensor], texts: Sequence[Array], width: int, device: torch.device) -> Array:
    """Mean hidden states (N, d) float64 of N texts, each its words' tokens (T,), at least one.

    `states` gives the hidden states (B, T, d) of a batch; texts of like length go together.
    """
    found = np.zeros((len(texts), width))
    for numbers in rows_sorted(np.array([len(text) for text in texts], dtype=np.int64), _ROWS_AT_ONCE):
        batch = batch_of([Document(_NOTHING, texts[number]) for number in numbers], device)
        of_text = batch.in_main.unsqueeze(-1)
        found[numbers] = ((states(batch).double() * of_text).sum(1) / of_text.sum(1)).cpu().numpy()
    return found


_NOTHING: Array = np.zeros(0, dtype=np.int64)

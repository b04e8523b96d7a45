"""Slots of ids to the embeddings a network reads.

slots    [u1 | h1 h2 | ... ]   key by key, then row by row      lengths (F, N): [[1], [2], ...]
  │ gather from the merged rows, mean over each bag
  ▼
embeddings (N, F, D)           an empty bag is zeros
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from streams.contract.columns import Array


def tables_of_values(tables: Array, lengths: Array) -> Array:
    """The table number of each value, from the keys' tables (F,) and the bags' lengths (F, N)."""
    return np.repeat(tables, lengths.sum(axis=1))


def pool(values: Tensor, slots: Array, lengths: Array) -> Tensor:
    """Mean of `values` (S, D) over bags of `slots` (lengths.sum(),) with lengths (F, N) -> (N, F, D)."""
    num_keys, num_rows = lengths.shape
    dim = values.shape[1]
    if len(slots) == num_keys * num_rows and bool((lengths == 1).all()):
        by_row = np.ascontiguousarray(slots.reshape(num_keys, num_rows).T).reshape(-1)
        return values.index_select(0, torch.from_numpy(by_row)).view(num_rows, num_keys, dim)
    if num_keys * num_rows == 0:
        return values.new_zeros(num_rows, num_keys, dim)
    ends = lengths.reshape(-1).cumsum(dtype=np.int64)
    offsets = torch.from_numpy(ends - lengths.reshape(-1))
    pooled = embedding_bag(torch.from_numpy(slots.astype(np.int64)), values, offsets, mode="mean")
    return pooled.view(num_keys, num_rows, dim).transpose(0, 1).contiguous()

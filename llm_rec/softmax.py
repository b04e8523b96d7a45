"""The log-likelihood of a softmax over a large table, in bounded memory.

Logits (M, J) of M places over J items or words are never whole: they are made a block of places at a
time, and once more for the gradient. The result is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

BLOCK_BYTES = 1 << 26


def negative_log_likelihood(
    hidden: Tensor, table: Tensor, rows: Tensor, targets: Tensor, *, block_bytes: int = BLOCK_BYTES
) -> Tensor:
    """-ln p(targets | hidden[rows]) (K,) with p = softmax(hidden table^T): hidden (M, d), table (J, d), rows and
    targets (K,). At most about `block_bytes` of logits exist at a time.
    """
    scores = (hidden[rows] * table[targets]).sum(-1)
    return log_partition(hidden, table, block_bytes)[rows] - scores


def log_partition(hidden: Tensor, table: Tensor, block_bytes: int = BLOCK_BYTES) -> Tensor:
    """ln sum_j exp(hidden table_j) (M,) of hidden (M, d) and table (J, d)."""
    block_rows = max(1, block_bytes // (4 * len(table)))
    if len(hidden) <= block_rows:
        return _block(hidden, table)
    parts = [
        checkpoint(_block, part, table, use_reentrant=False, preserve_rng_state=False)
        for part in torch.split(hidden, block_rows)
    ]
    return torch.cat(parts)


def _block(hidden: Tensor, table: Tensor) -> Tensor:
    return torch.logsumexp(hidden @ table.T, dim=-1)

"""Histories as rows of a matrix, users by items."""

from __future__ import annotations

import numpy as np

from streams.contract.columns import Array
from streams.contract.values import Floats


def incidence(histories: list[Array], num_items: int) -> Floats:
    """(B, J) float32, 1 where the item is in the history and 0 elsewhere."""
    rows = np.zeros((len(histories), num_items), dtype=np.float32)
    items = np.concatenate([*histories, np.zeros(0, dtype=np.int64)])
    rows[np.repeat(np.arange(len(histories)), [len(history) for history in histories]), items] = 1
    return rows

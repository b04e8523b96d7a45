"""The first value of an embedding row, as a function of what it stands for.

A row is admitted at a moment that depends on the stream, perhaps again after an eviction, perhaps
after a restart. Counter-based noise (table, id, seed, column -> value) needs no state to be kept,
so a restarted trainer gives a row the value that an uninterrupted one would have given it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streams.contract.columns import Array
from streams.contract.values import Floats, Ids, mix64

_COLUMN_STRIDE = np.uint64(0x9E3779B97F4A7C15)


def initial_rows(table: int | Array, ids: Ids, dim: int, seed: int, *, scale: float = 1.0) -> Floats:
    """Rows (N, dim) of table number `table`, or (N,) numbers, for `ids` (N,): uniform in ±scale / sqrt(dim)."""
    numbers = np.atleast_1d(np.asarray(table)).astype(np.uint64) + np.uint64(1)
    key = mix64(mix64(np.array([seed], dtype=np.int64).view(np.uint64)) ^ numbers)
    of_row = mix64(ids.astype(np.int64, copy=False).view(np.uint64) ^ key)
    with np.errstate(over="ignore"):
        counters = of_row[:, None] + np.arange(1, dim + 1, dtype=np.uint64) * _COLUMN_STRIDE
    return _unit(mix64(counters)) * np.float32(scale / np.sqrt(dim))


def _unit(bits: npt.NDArray[np.uint64]) -> Floats:
    """The upper 24 bits of each word as a float32 in (-1, 1), exact and symmetric about 0."""
    steps = (bits >> np.uint64(40)).astype(np.float32) + np.float32(0.5)
    return (steps * np.float32(2.0**-23) - np.float32(1.0)).astype(np.float32)

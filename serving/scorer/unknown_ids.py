"""Ids known to have no row, oldest first, so that their memory is bounded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Tables = npt.NDArray[np.int16]
Ints = npt.NDArray[np.int64]


class UnknownIds:
    """A queue of (table, id) keys of at most about `limit` entries."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tables: Tables = np.zeros(0, dtype=np.int16)
        self._ids: Ints = np.zeros(0, dtype=np.int64)
        self._newer: list[tuple[Tables, Ints]] = []
        self._num = 0

    def __len__(self) -> int:
        return self._num

    @property
    def full(self) -> bool:
        """Whether the limit is passed, so that `drop_oldest` is due."""
        return self._num > self._limit

    def add(self, tables: Tables, ids: Ints) -> None:
        """Appends keys (N,); the same key may stand here twice."""
        if len(ids):
            self._newer.append((tables, ids))
            self._num += len(ids)

    def drop_oldest(self) -> tuple[Tables, Ints]:
        """Removes and returns the older half, so that dropping is rare."""
        tables = np.concatenate([self._tables, *(tables for tables, _ in self._newer)])
        ids = np.concatenate([self._ids, *(ids for _, ids in self._newer)])
        half = len(ids) // 2
        self._tables, self._ids, self._newer = tables[half:].copy(), ids[half:].copy(), []
        self._num = len(self._ids)
        return tables[:half], ids[:half]

"""Ids known to have no row, oldest first, so that their memory is bounded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streams.contract.idmap import IdMap

Tables = npt.NDArray[np.int16]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_ENTRY = np.dtype([("table", np.int16), ("id", np.int64), ("version", np.int64)])


class UnknownIds:
    """A queue of (table, id) keys, each with the version that took its row away; 0 for those that had none.

    At most `limit` keys and those that come between two calls of `drop_oldest`; more only where the
    store lacks that many of their versions.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries = np.zeros(0, dtype=_ENTRY)
        self._num = 0

    def __len__(self) -> int:
        return self._num

    @property
    def full(self) -> bool:
        """Whether the limit is passed, so that `drop_oldest` is due."""
        return self._num > self._limit

    @property
    def num_bytes(self) -> int:
        """Memory of the queue."""
        return self._entries.nbytes

    def add(self, tables: Tables, ids: Ints, version: int) -> None:
        """Appends keys (N,); the same key may stand here twice."""
        end = self._num + len(ids)
        if end > len(self._entries):
            grown = np.zeros(max(end, 2 * self._num), dtype=_ENTRY)
            grown[: self._num] = self._entries[: self._num]
            self._entries = grown
        new = self._entries[self._num : end]
        new["table"], new["id"], new["version"] = tables, ids, version
        self._num = end

    def drop_oldest(self, stored_version: int) -> tuple[Tables, Ints]:
        """Removes the older half, so that dropping is rare, but nothing behind a version that the store lacks.

        Returns those of the removed keys that no version takes away which the store lacks.
        """
        entries = self._entries[: self._num]
        pinned = np.flatnonzero(entries["version"] > stored_version)
        cut = min(self._num // 2, int(pinned[0]) if len(pinned) else self._num)
        dropped = entries[:cut]
        free = dropped[~_among(dropped, entries[pinned])]
        tables, ids = free["table"].copy(), free["id"].copy()
        self._entries = entries[cut:].copy()
        self._num -= cut
        return tables, ids


def _among(entries: npt.NDArray[np.void], others: npt.NDArray[np.void]) -> Flags:
    """Which of the entries (N,) have a key that stands among the others too."""
    keys = np.unique(others[["table", "id"]])
    known = IdMap(len(keys))
    known.insert(keys["table"].copy(), keys["id"].copy(), np.zeros(len(keys), dtype=np.int32))
    found: Flags = known.lookup(entries["table"].copy(), entries["id"].copy()) >= 0
    return found

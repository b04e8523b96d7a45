"""The rows that stand in bundles: their encoded values, and in how many bundles each stands."""

from __future__ import annotations

import numpy as np

from streams.contract.columns import Array
from streams.contract.idmap import IdMap

_FIRST_ROOM = 1024


class Members:
    """Rows by (table number, id), each with a place in the arrays.

    values (M, W) uint8, encoded; present, shared (M,) bool; num_bundles (M,) int32; versions (M,) int64
    """

    def __init__(self, row_bytes: int, share_limit: int) -> None:
        self._map = IdMap()
        self._share_limit = share_limit
        self._free = np.zeros(0, dtype=np.int32)
        self._tables = np.zeros(0, dtype=np.int16)
        self._ids = np.zeros(0, dtype=np.int64)
        self.values = np.zeros((0, row_bytes), dtype=np.uint8)
        self.present = np.zeros(0, dtype=np.bool_)
        self.shared = np.zeros(0, dtype=np.bool_)
        self.num_bundles = np.zeros(0, dtype=np.int32)
        self.versions = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._map)

    def find(self, tables: Array, ids: Array) -> Array:
        """The place of each key (N,), -1 where it stands in no bundle."""
        return self._map.lookup(tables.astype(np.int16), ids)

    def add(self, tables: Array, ids: Array) -> Array:
        """Places (N,) for keys that are absent and differ from each other; no row yet."""
        tables = tables.astype(np.int16)
        if len(ids) > len(self._free):
            self._grow(len(ids) - len(self._free))
        places, self._free = self._free[: len(ids)], self._free[len(ids) :]
        self._map.insert(tables, ids, places)
        self._tables[places], self._ids[places] = tables, ids
        for column in (self.present, self.shared, self.num_bundles, self.versions):
            column[places] = 0
        return places

    def set_rows(self, places: Array, values: Array) -> None:
        """Rows (N, W) that are there now."""
        self.values[places], self.present[places] = values, True

    def join(self, places: Array) -> Array:
        """Counts one more bundle for each place; returns those that became shared, so every bundle must drop them."""
        np.add.at(self.num_bundles, places, 1)
        crowded: Array = np.unique(places[(self.num_bundles[places] > self._share_limit) & ~self.shared[places]])
        self.shared[crowded] = True
        return crowded

    def leave(self, places: Array) -> None:
        """Counts one bundle less for each place; rows in no bundle are forgotten."""
        np.subtract.at(self.num_bundles, places, 1)
        gone = np.unique(places[self.num_bundles[places] == 0])
        self._map.remove(self._tables[gone], self._ids[gone])
        self._free = np.concatenate([gone.astype(np.int32), self._free])

    def _grow(self, more: int) -> None:
        old = len(self._ids)
        room = max(old + more, 2 * old, _FIRST_ROOM)
        self._free = np.concatenate([self._free, np.arange(old, room, dtype=np.int32)])
        for name in ("_tables", "_ids", "values", "present", "shared", "num_bundles", "versions"):
            column = getattr(self, name)
            grown = np.zeros((room, *column.shape[1:]), dtype=column.dtype)
            grown[:old] = column
            setattr(self, name, grown)

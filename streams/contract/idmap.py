"""A hash map from (table, id) to a slot, vectorised: no Python loop over ids.

Open addressing with linear probing over NumPy arrays, at most half full. Both parts of the key
are stored and compared, so two ids never share a slot by accident.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streams.contract.values import mix64

Ints = npt.NDArray[np.int64]
Slots = npt.NDArray[np.int32]

_EMPTY = -1
_REMOVED = -2


class IdMap:
    """(table, id) -> slot for many keys at once. Memory: 14 bytes a place, two to four places a key."""

    def __init__(self, capacity: int = 1024) -> None:
        """An empty map; it grows as needed from room for `capacity` keys."""
        self._allocate(capacity)

    def __len__(self) -> int:
        return self._num_keys

    @property
    def num_bytes(self) -> int:
        """Memory of its places."""
        return self._tables.nbytes + self._ids.nbytes + self._slots.nbytes

    def lookup(self, tables: npt.NDArray[np.int16], ids: Ints) -> Slots:
        """The slot of each key (N,) int32, -1 where absent."""
        slots = np.full(len(ids), -1, dtype=np.int32)
        rows = np.arange(len(ids))
        place = self._home(tables, ids)
        while len(rows):
            owner = self._tables[place]
            hit = (owner == tables[rows]) & (self._ids[place] == ids[rows])
            slots[rows[hit]] = self._slots[place[hit]]
            going = ~hit & (owner != _EMPTY)
            rows, place = rows[going], (place[going] + 1) & self._mask
        return slots

    def insert(self, tables: npt.NDArray[np.int16], ids: Ints, slots: Slots) -> None:
        """Adds keys that are absent and differ from each other (the caller's invariant)."""
        if self._num_used + len(ids) > (self._mask + 1) // 2:
            self._rebuild(2 * (self._num_keys + len(ids)))
        self._place(tables, ids, slots)
        self._num_keys += len(ids)

    def remove(self, tables: npt.NDArray[np.int16], ids: Ints) -> None:
        """Removes keys; absent ones are ignored."""
        rows = np.arange(len(ids))
        place = self._home(tables, ids)
        while len(rows):
            owner = self._tables[place]
            hit = (owner == tables[rows]) & (self._ids[place] == ids[rows])
            self._tables[place[hit]] = _REMOVED
            self._num_keys -= len(np.unique(place[hit]))
            going = ~hit & (owner != _EMPTY)
            rows, place = rows[going], (place[going] + 1) & self._mask

    def items(self) -> tuple[npt.NDArray[np.int16], Ints, Slots]:
        """All (tables, ids, slots), in order of slot within the order of tables: the same for the same content."""
        held = np.flatnonzero(self._tables >= 0)
        order = held[np.lexsort((self._ids[held], self._slots[held], self._tables[held]))]
        return self._tables[order], self._ids[order], self._slots[order]

    def _home(self, tables: npt.NDArray[np.int16], ids: Ints) -> Ints:
        salted = ids.view(np.uint64) ^ (tables.astype(np.uint64) << np.uint64(48))
        return (mix64(salted) & np.uint64(self._mask)).astype(np.int64)

    def _allocate(self, capacity: int) -> None:
        places = 1 << max(4, int(2 * capacity - 1).bit_length())
        self._mask = places - 1
        self._tables = np.full(places, _EMPTY, dtype=np.int16)
        self._ids = np.zeros(places, dtype=np.int64)
        self._slots = np.zeros(places, dtype=np.int32)
        self._num_keys = 0
        self._num_used = 0

    def _rebuild(self, capacity: int) -> None:
        tables, ids, slots = self.items()
        self._allocate(max(capacity, 8))
        self._place(tables, ids, slots)
        self._num_keys = len(ids)

    def _place(self, tables: npt.NDArray[np.int16], ids: Ints, slots: Slots) -> None:
        rows = np.arange(len(ids))
        place = self._home(tables, ids)
        while len(rows):
            free = np.flatnonzero(self._tables[place] == _EMPTY)
            winners = free[np.unique(place[free], return_index=True)[1]]
            won, at = rows[winners], place[winners]
            self._tables[at], self._ids[at], self._slots[at] = tables[won], ids[won], slots[won]
            going = np.ones(len(rows), dtype=np.bool_)
            going[winners] = False
            rows, place = rows[going], (place[going] + 1) & self._mask
        self._num_used += len(ids)

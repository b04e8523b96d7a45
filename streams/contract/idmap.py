"""A hash map from (table, id) to a slot, vectorised: no Python loop over ids.

Open addressing with linear probing over one NumPy array, at most half full. Both parts of the key
are stored and compared, so two ids never share a slot by accident. A place is 16 bytes, (id, owner),
so that a key found at once costs one visit to memory:

    owner   table << 32 | slot        -1 << 32: empty        -2 << 32: removed
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streams.contract.values import mix64

Ints = npt.NDArray[np.int64]
Slots = npt.NDArray[np.int32]

_EMPTY = -1
_REMOVED = -2
_SLOT_BITS = 32
_SLOT_MASK = (1 << _SLOT_BITS) - 1
_STEPS = np.arange(8)
"""Places looked at together where the first one was not it: a run of keys is then one step or two."""


class IdMap:
    """(table, id) -> slot for many keys at once. Memory: 16 bytes a place, two to eight places a key."""

    def __init__(self, capacity: int = 1024) -> None:
        """An empty map; it grows as needed from room for `capacity` keys."""
        self._allocate(capacity)

    def __len__(self) -> int:
        return self._num_keys

    @property
    def num_bytes(self) -> int:
        """Memory of its places."""
        return self._places.nbytes

    def lookup(self, tables: npt.NDArray[np.int16], ids: Ints) -> Slots:
        """The slot of each key (N,) int32, -1 where absent."""
        place = self._home(tables, ids)
        owner, table, hit = self._at(place, tables, ids)
        slots = np.where(hit, owner & _SLOT_MASK, -1)
        rows = np.flatnonzero(~hit & (table != _EMPTY))
        place = place[rows] + 1
        while len(rows):
            window = (place[:, None] + _STEPS) & self._mask
            owner, table, hit = self._at(window, tables[rows, None], ids[rows, None])
            first, ended = _first(hit | (table == _EMPTY))
            found = hit[first]
            slots[rows[found]] = owner[first][found] & _SLOT_MASK
            rows, place = rows[~ended], place[~ended] + len(_STEPS)
        return slots.astype(np.int32)

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
            _, table, hit = self._at(place, tables[rows], ids[rows])
            self._places[place[hit], 1] = _REMOVED << _SLOT_BITS
            self._num_keys -= len(np.unique(place[hit]))
            going = ~hit & (table != _EMPTY)
            rows, place = rows[going], (place[going] + 1) & self._mask

    def items(self) -> tuple[npt.NDArray[np.int16], Ints, Slots]:
        """All (tables, ids, slots), in order of slot within the order of tables: the same for the same content."""
        tables, ids, slots = self._held()
        order = np.lexsort((ids, slots, tables))
        return tables[order], ids[order], slots[order]

    def _held(self) -> tuple[npt.NDArray[np.int16], Ints, Slots]:
        held = self._places[self._places[:, 1] >= 0]
        owner = held[:, 1]
        return (owner >> _SLOT_BITS).astype(np.int16), held[:, 0].copy(), (owner & _SLOT_MASK).astype(np.int32)

    def _at(self, place: Ints, tables: npt.NDArray[np.int16], ids: Ints) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
        """(owner, its table, whether it is the key) of each place, of any shape."""
        found = self._places.take(place, axis=0)
        owner = found[..., 1]
        table = owner >> _SLOT_BITS
        return owner, table, (table == tables) & (found[..., 0] == ids)

    def _home(self, tables: npt.NDArray[np.int16], ids: Ints) -> Ints:
        salted = ids.view(np.uint64) ^ (tables.astype(np.uint64) << np.uint64(48))
        return (mix64(salted) & np.uint64(self._mask)).astype(np.int64)

    def _allocate(self, capacity: int) -> None:
        places = 1 << max(4, int(2 * capacity - 1).bit_length())
        self._mask = places - 1
        self._places = np.zeros((places, 2), dtype=np.int64)
        self._places[:, 1] = _EMPTY << _SLOT_BITS
        self._num_keys = 0
        self._num_used = 0

    def _rebuild(self, capacity: int) -> None:
        tables, ids, slots = self._held()
        self._allocate(max(capacity, 8))
        self._place(tables, ids, slots)
        self._num_keys = len(ids)

    def _place(self, tables: npt.NDArray[np.int16], ids: Ints, slots: Slots) -> None:
        owner = (tables.astype(np.int64) << _SLOT_BITS) | slots.astype(np.int64)
        rows = np.arange(len(ids))
        place = self._home(tables, ids)
        while len(rows):
            window = (place[:, None] + _STEPS) & self._mask
            first, found = _first(self._places[window, 1] >> _SLOT_BITS == _EMPTY)
            place = np.where(found, window[first], place + len(_STEPS))
            free = np.flatnonzero(found)
            # several may want one place: each claims it with its number, and whose number stands there has won
            self._places[place[free], 0] = free
            winners = free[self._places[place[free], 0] == free]
            won, at = rows[winners], place[winners]
            self._places[at, 0], self._places[at, 1] = ids[won], owner[won]
            going = np.ones(len(rows), dtype=np.bool_)
            going[winners] = False
            rows, place = rows[going], place[going]
        self._num_used += len(ids)


def _first(flags: npt.NDArray[np.bool_]) -> tuple[tuple[Ints, Ints], npt.NDArray[np.bool_]]:
    """(index of the first True of each row, 0 where there is none; whether there is one) of flags (N, W)."""
    column = flags.argmax(axis=1)
    index = (np.arange(len(flags)), column)
    return index, flags[index]

"""The rows a scorer holds in memory: one merged tensor over all tables, and the map into it.

    slot   0 ... T-1          T ... T+capacity-1
    row    default row of     rows of admitted ids, in no order
           table 0 ... T-1

    (table, id) ──IdMap──> slot      a row, or the table's default row for an id known to have none
                           -1        not known here: ask the store

A row that an update brought may not be in the store yet; it carries that version and is not
evicted before the store has it (`release`). The same holds for an id that an update took away.
"""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
import torch

from serving.scorer.unknown_ids import UnknownIds
from streams.contract.idmap import IdMap

Tables = npt.NDArray[np.int16]
Ints = npt.NDArray[np.int64]
Slots = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

_LOG = logging.getLogger(__name__)
_NEVER = np.int32(-1)
_LAST_STAMP = np.iinfo(np.int32).max


class HotRows:
    """Rows of T tables of dimension D. Not thread-safe: the caller holds the scorer's lock."""

    def __init__(self, num_tables: int, dim: int, *, capacity: int, max_unknown_ids: int) -> None:
        self._num_tables = num_tables
        self._unknown = UnknownIds(max_unknown_ids)
        self._map = IdMap(1024)

        # per slot
        size = num_tables + capacity
        self.values = torch.zeros(size, dim)
        self._tables: Tables = np.zeros(size, dtype=np.int16)
        self._ids: Ints = np.zeros(size, dtype=np.int64)
        self._versions: Ints = np.zeros(size, dtype=np.int64)
        self._stamps = np.full(size + 1, _NEVER, dtype=np.int32)  # the last takes the touch of slot -1

        # which slots are free, which versions the store has
        self._free: Slots = np.arange(size - 1, num_tables - 1, -1, dtype=np.int32)
        self._num_free = capacity
        self._hand = num_tables
        self._stamp = 0
        self._stored_version = 0

    def __len__(self) -> int:
        """Rows held, defaults apart."""
        return len(self.values) - self._num_tables - self._num_free

    @property
    def num_unknown(self) -> int:
        """Ids remembered to have no row."""
        return len(self._unknown)

    @property
    def num_bytes(self) -> int:
        """Memory of rows and bookkeeping, the map's places and the ids without a row included."""
        arrays = (self._tables, self._ids, self._versions, self._stamps, self._free)
        bookkeeping = sum(array.nbytes for array in arrays) + self._map.num_bytes + self._unknown.num_bytes
        return self.values.nbytes + bookkeeping

    def begin_batch(self) -> None:
        """Rows looked up from here on are not evicted until the next batch begins."""
        if self._stamp == _LAST_STAMP:
            np.minimum(self._stamps, 0, out=self._stamps)
            self._stamp = 0
        self._stamp += 1

    def lookup(self, tables: Tables, ids: Ints) -> Slots:
        """The slot of each key (N,), -1 where the store must be asked."""
        slots = self._map.lookup(tables, ids)
        self._stamps[slots] = self._stamp
        return slots

    def set_defaults(self, rows: Floats) -> None:
        """Sets the default rows (T, D)."""
        self.values.numpy()[: self._num_tables] = rows

    def put(self, tables: Tables, ids: Ints, rows: Floats, version: int = 0) -> None:
        """Writes rows (N, D) of keys that differ from each other, whether known here or not.

        `version` is the update that brought them; 0 for rows that came from the store.
        """
        slots = self.lookup(tables, ids)  # touched, so that making room does not evict them
        unknown = (slots >= 0) & (slots < self._num_tables)
        self._map.remove(tables[unknown], ids[unknown])
        new = np.flatnonzero(unknown | (slots < 0))
        slots[new] = self._allocate(len(new))
        self._map.insert(tables[new], ids[new], slots[new])
        self._tables[slots], self._ids[slots] = tables, ids
        self._versions[slots] = version
        self._stamps[slots[new]] = self._stamp
        self.values.numpy()[slots] = rows

    def put_absent(self, tables: Tables, ids: Ints, rows: Floats) -> None:
        """Writes those of the store's rows (N, D) whose keys are not known here: what is here is newer."""
        absent = self._map.lookup(tables, ids) < 0
        self.put(tables[absent], ids[absent], rows[absent])

    def forget(self, tables: Tables, ids: Ints, version: int) -> None:
        """Takes rows away: their ids have none from `version` on."""
        slots = self._map.lookup(tables, ids)
        held = slots >= self._num_tables
        self._release_slots(slots[held])
        self._map.remove(tables[held], ids[held])
        new = held | (slots < 0)
        self._add_unknown(tables[new], ids[new], version)

    def remember_unknown(self, tables: Tables, ids: Ints) -> None:
        """Notes ids that the store has no row for, unless a row has come meanwhile."""
        absent = self._map.lookup(tables, ids) < 0
        self._add_unknown(tables[absent], ids[absent], 0)

    def release(self, stored_version: int) -> None:
        """The store has all rows up to `stored_version`: they may be evicted and asked for again."""
        self._stored_version = stored_version
        if self._unknown.full:
            tables, ids = self._unknown.drop_oldest(stored_version)
            slots = self._map.lookup(tables, ids)
            still = (slots >= 0) & (slots < self._num_tables)
            self._map.remove(tables[still], ids[still])

    def _add_unknown(self, tables: Tables, ids: Ints, version: int) -> None:
        self._map.insert(tables, ids, tables.astype(np.int32))
        self._unknown.add(tables, ids, version)

    def _allocate(self, count: int) -> Slots:
        if count > self._num_free:
            self._evict(count - self._num_free)
        if count > self._num_free:
            self._grow(count - self._num_free)
        self._num_free -= count
        return self._free[self._num_free : self._num_free + count].copy()

    def _release_slots(self, slots: Slots) -> None:
        self._free[self._num_free : self._num_free + len(slots)] = slots
        self._num_free += len(slots)
        self._stamps[slots] = _NEVER

    def _evict(self, count: int) -> None:
        """Frees about `count` slots or more: the least recently used in each window, once around."""
        width = max(1024, 8 * count)
        for _ in range(-(-len(self.values) // width)):
            window = np.arange(self._hand, min(self._hand + width, len(self.values)))
            self._hand = self._num_tables if window[-1] + 1 == len(self.values) else int(window[-1]) + 1
            stamps = self._stamps[window]
            free_to_go = (stamps >= 0) & (stamps < self._stamp) & (self._versions[window] <= self._stored_version)
            candidates = window[free_to_go]
            oldest = np.argsort(self._stamps[candidates], kind="stable")[: max(count, width // 8)]
            victims = candidates[oldest].astype(np.int32)
            self._map.remove(self._tables[victims], self._ids[victims])
            self._release_slots(victims)
            count -= len(victims)
            if count <= 0:
                return

    def _grow(self, count: int) -> None:
        """Makes room beyond the capacity, where every row is in use or not yet in the store."""
        old, used, more = len(self.values), len(self), max(count, len(self.values) // 4)
        _LOG.warning("hot rows grow from %d to %d: all are in use, or the store has not got them yet", old, old + more)
        self.values = torch.cat([self.values, torch.zeros(more, self.values.shape[1])])
        self._tables = np.concatenate([self._tables, np.zeros(more, dtype=np.int16)])
        self._ids = np.concatenate([self._ids, np.zeros(more, dtype=np.int64)])
        self._versions = np.concatenate([self._versions, np.zeros(more, dtype=np.int64)])
        self._stamps = np.concatenate([self._stamps[:-1], np.full(more + 1, _NEVER, dtype=np.int32)])
        fresh = np.arange(old, old + more, dtype=np.int32)
        self._free = np.concatenate([self._free[: self._num_free], fresh, np.zeros(used, dtype=np.int32)])
        self._num_free += more

"""Which slot a counted key has: (counter, id) -> slot, of a bounded number."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from streams.contract.columns import Array
from streams.contract.idmap import IdMap

Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int16]


class KeySpace:
    """Slots of at most `capacity` keys; numbers (N,) int16 say of which counter the ids (N,) are."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._map = IdMap()
        # Reserved, but not touched, up to the capacity.
        self._numbers: Numbers = np.zeros(capacity, dtype=np.int16)
        self._ids: Ints = np.zeros(capacity, dtype=np.int64)
        self._held = np.zeros(capacity, dtype=np.bool_)
        self._top = 0
        self._free: Ints = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._map)

    @property
    def num_free(self) -> int:
        """Slots that hold no key."""
        return self.capacity - len(self)

    @property
    def num_bytes(self) -> int:
        """Memory of what was touched, and of the map."""
        return self._top * (2 + 8 + 1) + self._free.nbytes + self._map.num_bytes

    @property
    def held(self) -> Ints:
        """The slots in use, in order."""
        return np.flatnonzero(self._held[: self._top])

    def lookup(self, numbers: Numbers, ids: Ints) -> Ints:
        """The slot of each key (N,), -1 where it has none."""
        return self._map.lookup(numbers, ids).astype(np.int64)

    def keys_at(self, slots: Ints) -> tuple[Numbers, Ints]:
        """(numbers, ids) of slots that hold a key."""
        return self._numbers[slots], self._ids[slots]

    def admit(self, numbers: Numbers, ids: Ints) -> Ints:
        """Gives slots to distinct new keys (N,), the lowest first; -1 to those for which none is left."""
        freed = min(len(ids), len(self._free))
        fresh = min(len(ids) - freed, self.capacity - self._top)
        slots = np.full(len(ids), -1, dtype=np.int64)
        slots[:freed] = self._free[:freed]
        slots[freed : freed + fresh] = self._top + np.arange(fresh)
        self._free, self._top = self._free[freed:], self._top + fresh
        given = slots[: freed + fresh]
        self._hold(numbers[: len(given)], ids[: len(given)], given)
        return slots

    def remove(self, slots: Ints) -> None:
        """Frees slots that hold a key."""
        self._map.remove(*self.keys_at(slots))
        self._held[slots] = False
        self._free = np.sort(np.concatenate([self._free, slots]))

    def state(self) -> dict[str, Array]:
        """Everything, as arrays for a checkpoint."""
        slots = self.held
        numbers, ids = self.keys_at(slots)
        return {"slots": slots, "numbers": numbers, "ids": ids, "top": np.array([self._top])}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """The inverse of `state`."""
        self._map, self._top = IdMap(len(state["slots"])), int(state["top"][0])
        self._held[:] = False
        self._hold(state["numbers"], state["ids"], state["slots"])
        self._free = np.flatnonzero(~self._held[: self._top])

    def _hold(self, numbers: Numbers, ids: Ints, slots: Ints) -> None:
        self._map.insert(numbers, ids, slots.astype(np.int32))
        self._numbers[slots], self._ids[slots], self._held[slots] = numbers, ids, True

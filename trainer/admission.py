"""How often an id without a row has been seen lately: a count-min sketch of fixed size that forgets.

Conservative update (Estan and Varghese 2002): only the smallest of a key's cells grow, so counts
are never too low, and too high only where both cells are shared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.values import mix64

Keys = npt.NDArray[np.uint64]

_NUM_HASHES = 2
_LARGEST_COUNT = 255


@dataclass(frozen=True, kw_only=True, slots=True)
class AdmissionConfig:
    """An id gets a row once it has been seen `admit_after` times; counts halve every `2**bits` sightings."""

    admit_after: int = 2
    bits: int = 20

    def __post_init__(self) -> None:
        if not 1 <= self.admit_after <= _LARGEST_COUNT:
            raise InputError(f"must be from 1 to {_LARGEST_COUNT}", field="admit_after", value=self.admit_after)
        if not 4 <= self.bits <= 28:
            raise InputError("must be from 4 to 28", field="bits", value=self.bits)


class Admission:
    """Counts sightings of (table, id). Memory: 2 * 2**bits bytes, whatever the number of ids."""

    def __init__(self, config: AdmissionConfig) -> None:
        self.config = config
        num_cells = 1 << config.bits if config.admit_after > 1 else 0
        self._cells = np.zeros((_NUM_HASHES, num_cells), dtype=np.uint8)
        self._since_decay = 0

    def admit(self, tables: npt.NDArray[np.int16], ids: npt.NDArray[np.int64], counts: Array) -> npt.NDArray[np.bool_]:
        """Counts `counts` (N,) more sightings of distinct keys (N,); which of them have been seen often enough."""
        if self.config.admit_after == 1:
            return np.ones(len(ids), dtype=np.bool_)
        places = self._places(tables, ids)
        seen = np.minimum(self._cells[0][places[0]], self._cells[1][places[1]]) + np.minimum(counts, _LARGEST_COUNT)
        seen = np.minimum(seen, _LARGEST_COUNT).astype(np.uint8)
        for cells, place in zip(self._cells, places, strict=True):
            np.maximum.at(cells, place, seen)
        self._forget(len(ids))
        admitted: npt.NDArray[np.bool_] = seen >= self.config.admit_after
        return admitted

    def state(self) -> dict[str, Array]:
        """The counts as arrays, for a checkpoint."""
        return {"cells": self._cells.copy(), "since_decay": np.array([self._since_decay], dtype=np.int64)}

    def load_state(self, state: dict[str, Array]) -> None:
        """The inverse of `state`. Raises InputError where it was made with other `bits`."""
        if state["cells"].shape != self._cells.shape:
            raise InputError("the checkpoint was made with another size of the sketch", field="bits",
                             value=self.config.bits, remedy="resume with the recipe that made it")  # fmt: skip
        self._cells = state["cells"].copy()
        self._since_decay = int(state["since_decay"][0])

    def _places(self, tables: npt.NDArray[np.int16], ids: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        keys: Keys = mix64(ids.view(np.uint64) ^ (tables.astype(np.uint64) << np.uint64(40)))
        mask = np.uint64((1 << self.config.bits) - 1)
        return [((keys >> np.uint64(32 * n)) & mask).astype(np.int64) for n in range(_NUM_HASHES)]

    def _forget(self, sightings: int) -> None:
        self._since_decay += sightings
        if self._since_decay >= self._cells.shape[1]:
            self._cells >>= 1
            self._since_decay = 0

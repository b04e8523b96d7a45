"""How far a stream of batches has come for good: how late batches came of late, the next ones may come as well."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from streams.contract.columns import Array

_REMEMBERED = 32
"""Batches; partitions take turns, so there are several of each among them."""


class Punctuality:
    """Times are when the first outcome of a batch was settled, on the data's clock."""

    def __init__(self) -> None:
        self.front_ms = -1
        """The latest first outcome of a batch."""
        self._lags_ms = np.zeros(_REMEMBERED, dtype=np.int64)
        self._place = 0

    def until(self, first_ms: int) -> int:
        """Up to where nothing more is expected, with a batch that begins at `first_ms`."""
        self.front_ms = max(self.front_ms, first_ms)
        self._lags_ms[self._place] = self.front_ms - first_ms
        self._place = (self._place + 1) % _REMEMBERED
        return self.front_ms - int(self._lags_ms.max()) - 1

    def state(self) -> dict[str, Array]:
        """Everything, as arrays for a checkpoint."""
        return {"lags_ms": self._lags_ms.copy(), "front": np.array([self.front_ms, self._place])}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """The inverse of `state`."""
        self._lags_ms = np.array(state["lags_ms"])
        self.front_ms, self._place = state["front"].tolist()

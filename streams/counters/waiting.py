"""Outcomes that may still get company of before them: sums of their own alone, put together when asked for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from streams.contract.columns import Array
from streams.counters.runs import LAST_MS, Ints, Run, Sums, distinct_entries, new_run


class Waiting:
    """Few entries, in no run yet."""

    def __init__(self, half_lives_ms: Sums) -> None:
        self._half_lives_ms = half_lives_ms
        self._entries: Ints = np.zeros(0, dtype=np.int64)
        self._added: Sums = np.zeros((0, 2))
        self._run: Run | None = None

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def run(self) -> Run:
        """All of them, of which there must be some."""
        if self._run is None:
            self._run = new_run(self._entries, self._added, self._half_lives_ms, 0)
        return self._run

    def add(self, entries: Ints, added: Sums) -> None:
        """Outcomes (N,), (N, 2) in any order."""
        if len(self):
            entries, added = np.concatenate([self._entries, entries]), np.concatenate([self._added, added])
        self._keep(*distinct_entries(entries, added))

    def take_until(self, until_ms: int) -> tuple[Ints, Sums]:
        """Takes out what came up to then: entries (N,) rising, and their sums (N, H, 2)."""
        if not len(self):
            return self._entries, np.zeros((0, len(self._half_lives_ms), 2))
        run, due = self.run, (self._entries & LAST_MS) <= until_ms
        # of one slot what is due stands before what is not, so its sums hold
        if due.all():
            self._keep(self._entries[:0], self._added[:0])
            return run.entries, run.sums
        self._keep(self._entries[~due], self._added[~due])
        return run.entries[due], run.sums[due]

    def state(self) -> dict[str, Array]:
        """Everything, as arrays for a checkpoint."""
        return {"waiting": self._entries, "waiting_added": self._added}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """The inverse of `state`."""
        self._keep(np.array(state["waiting"]), np.array(state["waiting_added"]))

    def _keep(self, entries: Ints, added: Sums) -> None:
        self._entries, self._added, self._run = entries, added, None

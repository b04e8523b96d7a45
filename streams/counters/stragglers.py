"""Outcomes that come after later ones were settled for good: a sum of their own, to be added to the others'.

    outcomes ──> new run ──merged──> runs ──older than the horizon──> base (K, H, 2) at base_ms (K,)
                   └──────── read: base + runs, decayed to the moment asked for ────────┘

They may lie anywhere in time, so a run knows only what is in it, and each is searched.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from streams.contract.columns import Array
from streams.counters.runs import (
    LAST_MS,
    TIME_BITS,
    Ints,
    Run,
    Sums,
    add_before,
    decay,
    distinct_entries,
    last_of_each_slot,
    merged,
    new_run,
    runs_from,
    runs_state,
)


class Stragglers:
    """K slots; costs next to nothing while nothing came late."""

    def __init__(self, capacity: int, half_lives_ms: Sums, part_ms: int) -> None:
        """A run takes in what comes for `part_ms`."""
        self.runs: list[Run] = []
        self._half_lives_ms, self._part_ms = half_lives_ms, part_ms
        self._base: Sums = np.zeros((capacity, len(half_lives_ms), 2))
        self._base_ms: Ints = np.zeros(capacity, dtype=np.int64)
        self._has_base = False

    @property
    def num_entries(self) -> int:
        """Entries in the runs."""
        return sum(map(len, self.runs))

    def mark(self, held: npt.NDArray[np.bool_]) -> None:
        """Sets `held` (K,) for slots of which there are entries."""
        for run in self.runs:
            held[run.slots] = True

    def add(self, entries: Ints, added: Sums, clock_ms: int) -> None:
        """Outcomes (N,), (N, 2), N > 0, in any order. Runs merge, so that there are few."""
        self.runs.append(new_run(*distinct_entries(entries, added), self._half_lives_ms, clock_ms))
        while len(self.runs) > 1:
            older, newer = self.runs[-2:]
            if len(older) > 2 * len(newer) or clock_ms - older.first_clock_ms > self._part_ms:
                break
            self.runs[-2:] = [merged(older, newer, self._half_lives_ms)]

    def add_to(self, sums: Sums, slots: Ints, at_ms: Ints, entries: Ints) -> None:
        """Adds to (N, H, 2) what slots >= 0 had come to before their moment; `entries` are both together."""
        if self.runs:
            order = np.argsort(entries)
            in_order = np.zeros_like(sums)
            for run in self.runs:
                add_before(run, entries[order], self._half_lives_ms, in_order)
            sums[order] += in_order
        if self._has_base:
            elapsed_ms = np.maximum(at_ms - self._base_ms[slots], 0)
            sums += self._base[slots] * decay(elapsed_ms, self._half_lives_ms)

    def fold_oldest(self) -> int:
        """Adds the oldest run to the base; returns the newest time of that run."""
        run = self.runs.pop(0)
        last = last_of_each_slot(run.entries)
        slots, times_ms = run.entries[last] >> TIME_BITS, run.entries[last] & LAST_MS
        to_ms = np.maximum(self._base_ms[slots], times_ms)
        before = self._base[slots] * decay(to_ms - self._base_ms[slots], self._half_lives_ms)
        self._base[slots] = before + run.sums[last] * decay(to_ms - times_ms, self._half_lives_ms)
        self._base_ms[slots] = to_ms
        self._has_base = True
        return run.newest_ms

    def forget(self, slots: Ints) -> None:
        """Clears slots of which there are no entries."""
        if self._has_base:
            self._base[slots], self._base_ms[slots] = 0.0, 0

    def state(self, slots: Ints) -> dict[str, Array]:
        """Everything, as arrays for a checkpoint; `slots` are those that hold a key."""
        return {
            "base": self._base[slots], "base_ms": self._base_ms[slots],
            **runs_state(self.runs, len(self._half_lives_ms)),
        }  # fmt: skip

    def load_state(self, slots: Ints, state: Mapping[str, Array]) -> None:
        """The inverse of `state`."""
        self._base[slots], self._base_ms[slots] = state["base"], state["base_ms"]
        self._has_base = bool(state["base"].any())
        self.runs = runs_from(state)

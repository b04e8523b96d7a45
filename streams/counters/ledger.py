"""Outcomes that come in order of time, up to a little: each entry holds all that its slot had ever come to.

    outcomes ──> waiting ──settled for good──> runs ──older than the horizon──> base (K, H, 2) at base_ms (K,)
               own sums only                    └> latest (K, H, 2) at latest_ms (K,): each slot's newest entry

What lies in the runs is in order for good, so their sums are sums of everything and never change: to put runs
together only moves them, and what a slot had come to before any time is the one newest entry before it. A read
from behind the newest entry needs `latest` alone. What still waits knows nothing of what lies before.
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
    last_of_each_slot,
    runs_from,
    runs_state,
    same_slot,
    sums_at,
)
from streams.counters.waiting import Waiting

_FAN_OUT = 8
"""So many runs of one level become one of the next."""
_LONGEST = 1 << 18
"""Entries of a run; so few that none takes long to be put together."""


class Ledger:
    """K slots. Entries come by `add`, all of them after `settled_ms`."""

    def __init__(self, capacity: int, half_lives_ms: Sums, part_ms: int) -> None:
        """A run takes in what comes for `part_ms`."""
        self.settled_ms = -1
        """Up to here nothing more can be added."""
        self.waiting = Waiting(half_lives_ms)
        self.runs: list[Run] = []
        self._half_lives_ms, self._part_ms = half_lives_ms, part_ms
        cell = (len(half_lives_ms), 2)
        self._latest: Sums = np.zeros((capacity, *cell))
        self._latest_ms: Ints = np.zeros(capacity, dtype=np.int64)
        self._base: Sums = np.zeros((capacity, *cell))
        self._base_ms: Ints = np.zeros(capacity, dtype=np.int64)

    @property
    def num_entries(self) -> int:
        """Entries waiting and in the runs."""
        return len(self.waiting) + sum(map(len, self.runs))

    def mark(self, held: npt.NDArray[np.bool_]) -> None:
        """Sets `held` (K,) for slots of which there are entries."""
        for run in [*self.runs, *([self.waiting.run] if len(self.waiting) else [])]:
            held[run.slots] = True

    def add(self, entries: Ints, added: Sums) -> None:
        """Outcomes (N,), (N, 2) in any order."""
        self.waiting.add(entries, added)

    def settle(self, until_ms: int, clock_ms: int) -> None:
        """Nothing up to `until_ms` will come any more."""
        if until_ms > self.settled_ms:
            self.settled_ms = until_ms
            entries, sums = self.waiting.take_until(until_ms)
            if len(entries):
                self._take_in(entries, sums, clock_ms)

    def read(self, slots: Ints, at_ms: Ints, entries: Ints) -> Sums:
        """(N, H, 2): what slots >= 0 had come to before their moment, decayed to it; `entries` are both together."""
        latest_ms = self._latest_ms[slots]
        elapsed_ms = np.maximum(at_ms - latest_ms, 0)
        sums: Sums = self._latest.take(slots, axis=0) * decay(elapsed_ms, self._half_lives_ms)
        behind = np.flatnonzero(latest_ms >= at_ms)
        if len(behind):
            sums[behind] = self._before(entries[behind])
        if len(self.waiting) and int(at_ms.max(initial=-1)) > self.settled_ms:
            add_before(self.waiting.run, entries, self._half_lives_ms, sums)
        return sums

    def fold_oldest(self) -> int:
        """Keeps of the oldest run the last entry of each slot alone; returns the newest time of that run."""
        run = self.runs.pop(0)
        last = last_of_each_slot(run.entries)
        slots = run.entries[last] >> TIME_BITS
        self._base[slots], self._base_ms[slots] = run.sums[last], run.entries[last] & LAST_MS
        return run.newest_ms

    def forget(self, slots: Ints) -> None:
        """Clears slots of which there are no entries."""
        for sums, times_ms in ((self._latest, self._latest_ms), (self._base, self._base_ms)):
            sums[slots], times_ms[slots] = 0.0, 0

    def state(self, slots: Ints) -> dict[str, Array]:
        """Everything, as arrays for a checkpoint; `slots` are those that hold a key."""
        return {
            "latest": self._latest[slots], "latest_ms": self._latest_ms[slots],
            "base": self._base[slots], "base_ms": self._base_ms[slots], "settled_ms": np.array([self.settled_ms]),
            **self.waiting.state(), **runs_state(self.runs, len(self._half_lives_ms)),
        }  # fmt: skip

    def load_state(self, slots: Ints, state: Mapping[str, Array]) -> None:
        """The inverse of `state`."""
        self._latest[slots], self._latest_ms[slots] = state["latest"], state["latest_ms"]
        self._base[slots], self._base_ms[slots] = state["base"], state["base_ms"]
        self.settled_ms = int(state["settled_ms"][0])
        self.waiting.load_state(state)
        self.runs = runs_from(state)

    def _take_in(self, entries: Ints, sums: Sums, clock_ms: int) -> None:
        """Makes the sums (N, H, 2) of what waited sums of everything, and the last of each slot its latest."""
        slots, times_ms = entries >> TIME_BITS, entries & LAST_MS
        before = self._latest.take(slots, axis=0)
        sums = sums + before * decay(times_ms - self._latest_ms[slots], self._half_lives_ms)
        last = last_of_each_slot(entries)
        self._latest[slots[last]], self._latest_ms[slots[last]] = sums[last], times_ms[last]
        self.runs.append(Run(entries, sums, int(times_ms.max()), clock_ms))
        self._put_together(clock_ms)

    def _put_together(self, clock_ms: int) -> None:
        """Few runs: those of one level become one of the next, which spans no more than a part."""
        while len(group := self.runs[-_FAN_OUT:]) == _FAN_OUT and group[0].level == group[-1].level:
            if clock_ms - group[0].first_clock_ms > self._part_ms or sum(map(len, group)) > _LONGEST:
                return
            self.runs[-_FAN_OUT:] = [_joined(group, group[0].level + 1)]

    def _before(self, entries: Ints) -> Sums:
        """(N, H, 2) from the newest entry before each in the runs, or the base."""
        sums = np.empty((len(entries), *self._latest.shape[1:]))
        # In order, a search begins where the one before has just been: several times as fast.
        left = np.argsort(entries)
        newest_ms = int((entries & LAST_MS).max())
        begins_ms = [-1, *(run.newest_ms for run in self.runs[:-1])]
        for run, begin_ms in zip(reversed(self.runs), reversed(begins_ms), strict=False):
            if begin_ms < newest_ms and len(left):
                wanted = entries[left]
                places = np.searchsorted(run.entries, wanted) - 1
                found = same_slot(run, places, wanted)
                sums[left[found]] = sums_at(run, places[found], wanted[found], self._half_lives_ms)
                left = left[~found]
        slots, at_ms = entries[left] >> TIME_BITS, entries[left] & LAST_MS
        sums[left] = self._base[slots] * decay(at_ms - self._base_ms[slots], self._half_lives_ms)
        return sums


def _joined(runs: list[Run], level: int) -> Run:
    """Runs of one period after the other as one: their sums are sums of everything, and only move."""
    entries = np.concatenate([run.entries for run in runs])
    order = np.argsort(entries, kind="stable")
    sums = np.concatenate([run.sums for run in runs]).take(order, axis=0)
    return Run(entries[order], sums, runs[-1].newest_ms, runs[0].first_clock_ms, level)

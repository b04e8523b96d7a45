"""Decayed shows and outcomes of many keys, as they stood at any moment of late.

K keys, H half-lives. What came within the horizon lies in runs that know every moment; what is older
is folded into one sum a key:

    outcomes ──> new run ──merged──> runs ──older than the horizon──> base (K, H, 2) at base_ms (K,)
                   └──────── read: base + runs, decayed to the moment asked for ────────┘

The content is a function of the sequence of batches alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streams.contract.columns import Array
from streams.contract.counters import Counter, half_lives_of
from streams.contract.errors import InputError
from streams.counters.keys import BatchKeys
from streams.counters.keyspace import Ints, KeySpace, Numbers
from streams.counters.runs import (
    Run,
    Sums,
    add_before,
    decay,
    entries_of,
    last_of_each_slot,
    merged,
    new_run,
)

_MAX_ENTRIES = 2_000_000
_PARTS_OF_HORIZON = 4
"""A run takes in what comes for so much of the horizon; then it stays as it is until it is folded."""
_EVICT_FRACTION = 1 / 16
_NONE = BatchKeys(np.zeros(0, dtype=np.int16), np.zeros(0, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Outcomes:
    """N settled outcomes, a slot each (-1 where there is none), when settled, shows and outcomes: all (N,)."""

    slots: Ints
    settled_ms: Ints
    shows: Sums
    outcomes: Sums


class CounterState:
    """Counts of a schema's counters. Number 0, id 0 is the key of everything; it is never evicted."""

    def __init__(self, counters: Sequence[Counter], *, max_entries: int = _MAX_ENTRIES) -> None:
        """`max_entries` bounds what the runs hold: beyond it, the oldest are folded before the horizon is over."""
        self.half_lives_ms: Sums = 1000.0 * np.array(half_lives_of(counters))
        self.horizon_ms = int(1000 * max(counter.horizon_seconds for counter in counters))
        capacity = 1 + sum(counter.capacity for counter in counters)
        self.keys = KeySpace(capacity)
        self.num_dropped = 0
        """Outcomes of keys for which there was no room."""
        self._max_entries = max_entries
        self._base: Sums = np.zeros((capacity, len(self.half_lives_ms), 2))
        self._base_ms: Ints = np.zeros(capacity, dtype=np.int64)
        self._last_batch: Ints = np.zeros(capacity, dtype=np.int64)
        self._runs: list[Run] = []
        self._clock_ms: int = -1
        self._folded_ms: int = -1
        self._batch = 0
        self.keys.admit(np.zeros(1, dtype=np.int16), np.zeros(1, dtype=np.int64))

    @property
    def clock_ms(self) -> int:
        """The newest settlement counted, -1 before the first."""
        return self._clock_ms

    @property
    def num_entries(self) -> int:
        """What the runs hold."""
        return sum(map(len, self._runs))

    @property
    def num_bytes(self) -> int:
        """Memory in use: keys, base, runs."""
        of_runs = sum(run.entries.nbytes + run.sums.nbytes for run in self._runs)
        a_key = self._base[0].nbytes + self._base_ms.itemsize + self._last_batch.itemsize
        return int(self.keys.num_bytes + len(self.keys) * a_key + of_runs)

    def admit(self, numbers: Numbers, ids: Ints) -> tuple[Ints, BatchKeys]:
        """Begins a batch: (the slot of each of its keys (N,), -1 where there is no room; keys evicted for them)."""
        self._batch += 1
        slots = self.keys.lookup(numbers, ids)
        self._last_batch[slots[slots >= 0]] = self._batch
        missing = np.flatnonzero(slots < 0)
        evicted = _NONE
        if len(missing):
            order = missing[np.lexsort((ids[missing], numbers[missing]))]
            new = np.append(True, (np.diff(ids[order]) != 0) | (np.diff(numbers[order]) != 0))
            firsts = order[new]
            if len(firsts) > self.keys.num_free:
                evicted = self._evict(len(firsts) - self.keys.num_free)
            given = self.keys.admit(numbers[firsts], ids[firsts])
            self._last_batch[given[given >= 0]] = self._batch
            slots[order] = given[np.cumsum(new) - 1]
        return slots, evicted

    def add(self, new: Outcomes) -> None:
        """Counts the batch's outcomes, in any order."""
        self._clock_ms = max(self._clock_ms, int(new.settled_ms.max(initial=-1)))
        kept = np.flatnonzero(new.slots >= 0)
        self.num_dropped += len(new.slots) - len(kept)
        if len(kept):
            entries = entries_of(new.slots[kept], new.settled_ms[kept])
            shows, outcomes = new.shows[kept], new.outcomes[kept]
            self._push(new_run(entries, shows, outcomes, self.half_lives_ms, self._batch, self._clock_ms))
        while self._runs and self._is_over(self._runs[0]):
            self._fold(self._runs.pop(0))

    def read(self, slots: Ints, at_ms: Ints) -> Sums:
        """(N, H, 2): what each key had come to before its moment, decayed to it; zeros for slot -1, and where
        `reaches` is False."""
        # In order, a search begins where the one before has just been: several times as fast.
        order = np.argsort(entries_of(slots, at_ms))
        slots, at_ms = slots[order], at_ms[order]
        sums = np.zeros((len(slots), len(self.half_lives_ms), 2))
        entries = entries_of(slots, at_ms)
        for run in self._runs:
            add_before(run, entries, self.half_lives_ms, sums)
        rows = np.flatnonzero(slots >= 0)
        elapsed_ms = np.maximum(at_ms[rows] - self._base_ms[slots[rows]], 0)
        sums[rows] += self._base[slots[rows]] * decay(elapsed_ms, self.half_lives_ms)
        sums[~self.reaches(at_ms)] = 0.0
        in_order = np.empty_like(sums)
        in_order[order] = sums
        return in_order

    def reaches(self, at_ms: Ints) -> npt.NDArray[np.bool_]:
        """Whether the moments (N,) are late enough to be told apart from what came after them."""
        late_enough: npt.NDArray[np.bool_] = at_ms > self._folded_ms
        return late_enough

    def totals(self, slots: Ints) -> Sums:
        """(N, H, 2): all that was counted of slots that hold a key, decayed to one millisecond behind `clock_ms`."""
        at_ms = np.full(len(slots), self._clock_ms + 1)
        sums: Sums = self._base[slots] * decay(at_ms - self._base_ms[slots], self.half_lives_ms)
        for run in self._runs:
            add_before(run, entries_of(slots, at_ms), self.half_lives_ms, sums)
        return sums

    def state(self) -> dict[str, Array]:
        """Everything, as arrays for a checkpoint."""
        slots = self.keys.held
        none = (np.zeros(0, dtype=np.int64), np.zeros((0, len(self.half_lives_ms), 2)))
        return {
            **{f"keys.{name}": array for name, array in self.keys.state().items()},
            "base": self._base[slots], "base_ms": self._base_ms[slots], "last_batch": self._last_batch[slots],
            "entries": np.concatenate([run.entries for run in self._runs] or [none[0]]),
            "sums": np.concatenate([run.sums for run in self._runs] or [none[1]]),
            "runs": np.array([_figures(run) for run in self._runs], dtype=np.int64).reshape(-1, 4),
            "clock": np.array([self._clock_ms, self._folded_ms, self._batch, self.num_dropped]),
        }  # fmt: skip

    def load_state(self, state: Mapping[str, Array]) -> None:
        """The inverse of `state`, for the same counters. Raises InputError where it holds other half-lives."""
        if state["base"].shape[1] != len(self.half_lives_ms):
            raise InputError("the checkpoint has other counters", field="counters.half_lives_seconds",
                             value=state["base"].shape[1], remedy="resume with the schema that made it")  # fmt: skip
        self.keys.load_state({n.removeprefix("keys."): a for n, a in state.items() if n.startswith("keys.")})
        slots = state["keys.slots"]
        self._base[slots], self._base_ms[slots] = state["base"], state["base_ms"]
        self._last_batch[slots] = state["last_batch"]
        self._runs, at = [], 0
        for length, *figures in state["runs"].tolist():
            piece = slice(at, at + length)
            self._runs.append(Run(state["entries"][piece].copy(), state["sums"][piece].copy(), *figures))
            at += length
        self._clock_ms, self._folded_ms, self._batch, self.num_dropped = map(int, state["clock"])

    def _evict(self, wanted: int) -> BatchKeys:
        """Frees the keys of least decayed weight, a sixteenth at once; those that the runs hold stay."""
        oldest_batch = self._runs[0].first_batch if self._runs else self._batch
        slots = self.keys.held[1:]
        slots = slots[self._last_batch[slots] < oldest_batch]
        age = (self._clock_ms - self._base_ms[slots]) / self.half_lives_ms[-1]
        weight = np.log2(np.maximum(self._base[slots, -1, 0], 1e-300)) - age
        number = max(wanted, int(_EVICT_FRACTION * self.keys.capacity))
        gone = np.sort(slots[np.lexsort((slots, weight))[:number]])
        evicted = BatchKeys(*self.keys.keys_at(gone))
        self.keys.remove(gone)
        self._base[gone], self._base_ms[gone] = 0.0, 0
        return evicted

    def _push(self, run: Run) -> None:
        """Adds the newest run; merges, so that there are few."""
        self._runs.append(run)
        part_ms = self.horizon_ms // _PARTS_OF_HORIZON
        while len(self._runs) > 1:
            older, newer = self._runs[-2:]
            if len(older) > 2 * len(newer) or self._clock_ms - older.first_clock_ms > part_ms:
                break
            self._runs[-2:] = [merged(older, newer, self.half_lives_ms)]

    def _is_over(self, run: Run) -> bool:
        return run.newest_ms <= self._clock_ms - self.horizon_ms or self.num_entries > self._max_entries

    def _fold(self, run: Run) -> None:
        last = last_of_each_slot(run)
        slots, times_ms = run.slots[last], run.times_ms[last]
        to_ms = np.maximum(self._base_ms[slots], times_ms)
        before = self._base[slots] * decay(to_ms - self._base_ms[slots], self.half_lives_ms)
        self._base[slots] = before + run.sums[last] * decay(to_ms - times_ms, self.half_lives_ms)
        self._base_ms[slots] = to_ms
        self._folded_ms = max(self._folded_ms, int(times_ms.max()))


def _figures(run: Run) -> list[int]:
    return [len(run), run.newest_ms, run.first_batch, run.first_clock_ms]

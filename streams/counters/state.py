"""Decayed shows and outcomes of many keys, as they stood at any moment of late.

K keys, H half-lives. What comes in order of time goes into the ledger, what comes behind later ones to the
stragglers; what a key had come to is the sum of what both have of it. Both know every moment within the
horizon, and keep what is older as one sum a key.

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
from streams.counters.ledger import Ledger
from streams.counters.punctuality import Punctuality
from streams.counters.runs import Sums, entries_of
from streams.counters.stragglers import Stragglers

_MAX_ENTRIES = 2_000_000
_MAX_WAITING = 16_384
"""Entries that may wait for batches that come late, or those of four batches; then these are stragglers."""
_PARTS_OF_HORIZON = 4
_EVICT_FRACTION = 1 / 16
_NONE = BatchKeys(np.zeros(0, dtype=np.int16), np.zeros(0, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Outcomes:
    """N settled outcomes of each of C counters: their slots (C, N) or (N,), -1 where there is none; when settled,
    shows and outcomes (N,)."""

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
        self._punctuality = Punctuality()
        part_ms = self.horizon_ms // _PARTS_OF_HORIZON
        self._ledger = Ledger(capacity, self.half_lives_ms, part_ms)
        self._stragglers = Stragglers(capacity, self.half_lives_ms, part_ms)
        self._clock_ms: int = -1
        self._folded_ms: int = -1
        self.keys.admit(np.zeros(1, dtype=np.int16), np.zeros(1, dtype=np.int64))

    @property
    def clock_ms(self) -> int:
        """The newest settlement counted, -1 before the first."""
        return self._clock_ms

    @property
    def num_entries(self) -> int:
        """Outcomes within the horizon, those of one key and moment together."""
        return self._ledger.num_entries + self._stragglers.num_entries

    @property
    def num_stragglers(self) -> int:
        """Of these, those that came behind later ones."""
        return self._stragglers.num_entries

    @property
    def num_bytes(self) -> int:
        """Memory in use: keys, what each of them has come to, what is within the horizon."""
        cell = 2 * len(self.half_lives_ms) * 8
        return self.keys.num_bytes + len(self.keys) * 3 * (cell + 8) + self.num_entries * (cell + 8)

    def admit(self, numbers: Numbers, ids: Ints) -> tuple[Ints, BatchKeys]:
        """(The slot of each of a batch's keys (N,), -1 where there is no room; keys evicted for them)."""
        slots = self.keys.lookup(numbers, ids)
        missing = np.flatnonzero(slots < 0)
        evicted = _NONE
        if len(missing):
            order = missing[np.lexsort((ids[missing], numbers[missing]))]
            new = np.append(True, (np.diff(ids[order]) != 0) | (np.diff(numbers[order]) != 0))
            firsts = order[new]
            if len(firsts) > self.keys.num_free:
                evicted = self._evict(len(firsts) - self.keys.num_free, slots[slots >= 0])
            given = self.keys.admit(numbers[firsts], ids[firsts])
            slots[order] = given[np.cumsum(new) - 1]
        return slots, evicted

    def add(self, new: Outcomes) -> None:
        """Counts the batch's outcomes, in any order."""
        if not len(new.settled_ms):
            return
        self._clock_ms = max(self._clock_ms, int(new.settled_ms.max()))
        until_ms = self._punctuality.until(int(new.settled_ms.min()))
        if len(self._ledger.waiting) > max(_MAX_WAITING, 4 * new.slots.size):
            until_ms = self._punctuality.front_ms - 1
        self._ledger.settle(until_ms, self._clock_ms)
        kept = np.flatnonzero(new.slots >= 0)
        self.num_dropped += new.slots.size - len(kept)
        if len(kept):
            at = kept % len(new.settled_ms)
            added = np.stack([new.shows, new.outcomes], axis=1)[at]
            self._sort(new.slots.ravel()[kept], new.settled_ms[at], added)
        self._fold()

    def read(self, slots: Ints, at_ms: Ints) -> Sums:
        """(N, H, 2): what each key had come to before its moment, decayed to it; zeros for slot -1, and where
        `reaches` is False."""
        nothing = (slots < 0) | ~self.reaches(at_ms)
        if not nothing.any():
            return self._sums(slots, at_ms)
        rows = np.flatnonzero(~nothing)
        sums = np.zeros((len(slots), len(self.half_lives_ms), 2))
        sums[rows] = self._sums(slots[rows], at_ms[rows])
        return sums

    def reaches(self, at_ms: Ints) -> npt.NDArray[np.bool_]:
        """Whether the moments (N,) are late enough to be told apart from what came after them."""
        late_enough: npt.NDArray[np.bool_] = at_ms > self._folded_ms
        return late_enough

    def totals(self, slots: Ints) -> Sums:
        """(N, H, 2): all that was counted of slots that hold a key, decayed to one millisecond behind `clock_ms`."""
        return self._sums(slots, np.full(len(slots), self._clock_ms + 1))

    def state(self) -> dict[str, Array]:
        """Everything, as arrays for a checkpoint."""
        slots = self.keys.held
        parts = {
            "keys": self.keys.state(), "ledger": self._ledger.state(slots),
            "stragglers": self._stragglers.state(slots), "punctuality": self._punctuality.state(),
        }  # fmt: skip
        arrays = {f"{part}.{name}": array for part, named in parts.items() for name, array in named.items()}
        return {**arrays, "clock": np.array([self._clock_ms, self._folded_ms, self.num_dropped])}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """The inverse of `state`, for the same counters. Raises InputError where it holds other half-lives."""
        latest = state.get("ledger.latest")
        if latest is None or latest.shape[1] != len(self.half_lives_ms):
            raise InputError("the checkpoint has other counters, or those of an earlier version",
                             field="counters.half_lives_seconds", value=None if latest is None else latest.shape[1],
                             remedy="resume with what made it, or begin in another folder")  # fmt: skip
        slots = state["keys.slots"]
        self.keys.load_state(_part(state, "keys"))
        self._ledger.load_state(slots, _part(state, "ledger"))
        self._stragglers.load_state(slots, _part(state, "stragglers"))
        self._punctuality.load_state(_part(state, "punctuality"))
        self._clock_ms, self._folded_ms, self.num_dropped = map(int, state["clock"])

    def _sums(self, slots: Ints, at_ms: Ints) -> Sums:
        entries = entries_of(slots, at_ms)
        sums = self._ledger.read(slots, at_ms, entries)
        self._stragglers.add_to(sums, slots, at_ms, entries)
        return sums

    def _sort(self, slots: Ints, settled_ms: Ints, added: Sums) -> None:
        """Outcomes (N,), (N, 2) into the ledger, or to the stragglers."""
        entries = entries_of(slots, settled_ms)
        late = settled_ms <= self._ledger.settled_ms
        if late.any():
            self._stragglers.add(entries[late], added[late], self._clock_ms)
            entries, added = entries[~late], added[~late]
        if len(entries):
            self._ledger.add(entries, added)

    def _fold(self) -> None:
        """Forgets the moments of what is older than the horizon, and of what is too much."""
        over_ms = self._clock_ms - self.horizon_ms
        while stores := [store for store in (self._ledger, self._stragglers) if store.runs]:
            oldest = min(stores, key=lambda store: store.runs[0].newest_ms)
            if oldest.runs[0].newest_ms > over_ms and self.num_entries <= self._max_entries:
                return
            self._folded_ms = max(self._folded_ms, oldest.fold_oldest())

    def _evict(self, wanted: int, own: Ints) -> BatchKeys:
        """Frees the keys of least decayed weight, a sixteenth at once; those within the horizon and `own` stay."""
        stay = np.zeros(self.keys.capacity, dtype=np.bool_)
        stay[0] = stay[own] = True
        self._ledger.mark(stay)
        self._stragglers.mark(stay)
        slots = self.keys.held
        slots = slots[~stay[slots]]
        shows = self.totals(slots)[:, -1, 0]
        number = max(wanted, int(_EVICT_FRACTION * self.keys.capacity))
        gone = np.sort(slots[np.lexsort((slots, shows))[:number]])
        evicted = BatchKeys(*self.keys.keys_at(gone))
        self.keys.remove(gone)
        self._ledger.forget(gone)
        self._stragglers.forget(gone)
        return evicted


def _part(state: Mapping[str, Array], name: str) -> dict[str, Array]:
    prefix = f"{name}."
    return {path.removeprefix(prefix): array for path, array in state.items() if path.startswith(prefix)}

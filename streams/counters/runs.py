"""Outcomes of late, in order of key and time, each with what its key had come to by then.

N entries, H half-lives. An entry is one slot at one moment; `sums` holds all that this run knows of
the slot up to and with that moment, decayed to it. So what a slot had come to before any time is one
search and one decay, however many outcomes came in between, and whatever came later is not in it.

    entry     slot << 42 | time_ms         slot 3: 10:00 10:02 10:07 | slot 8: 10:01 ...
    sums      (N, H, 2) shows, outcomes            1.0   1.9   2.7           1.0
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Sums = npt.NDArray[np.float64]

TIME_BITS = 42
LAST_MS = (1 << TIME_BITS) - 1
"""Times are taken between 1970 and this, in the year 2109."""


@dataclass(frozen=True, slots=True)
class Run:
    """entries (N,) rising; sums (N, H, 2); its newest time; the first batch in it, and the clock when that came."""

    entries: Ints
    sums: Sums
    newest_ms: int
    first_batch: int
    first_clock_ms: int

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def slots(self) -> Ints:
        """(N,)"""
        return self.entries >> TIME_BITS

    @property
    def times_ms(self) -> Ints:
        """(N,)"""
        return self.entries & LAST_MS


def entries_of(slots: Ints, times_ms: Ints) -> Ints:
    """(N,): slot -1, which nothing has, comes before all others."""
    return (slots << TIME_BITS) | np.clip(times_ms, 0, LAST_MS)


def decay(elapsed_ms: Ints, half_lives_ms: Sums) -> Sums:
    """What is left (N, H, 1) of 1 after (N,) milliseconds."""
    left: Sums = np.exp2(-elapsed_ms[:, None] / half_lives_ms)
    return left[:, :, None]


def new_run(entries: Ints, shows: Sums, outcomes: Sums, half_lives_ms: Sums, batch: int, clock_ms: int) -> Run:
    """A run of N > 0 outcomes (N,) in any order; those of one slot and moment become one entry."""
    distinct, places = np.unique(entries, return_inverse=True)
    counts = [np.bincount(places, weights=each, minlength=len(distinct)) for each in (shows, outcomes)]
    added = np.stack(counts, axis=1)
    sums = np.repeat(added[:, None, :], len(half_lives_ms), axis=1)
    newest_ms = int((distinct & LAST_MS).max())
    return Run(distinct, _accumulated(distinct, sums, half_lives_ms), newest_ms, batch, clock_ms)


def add_before(run: Run, entries: Ints, half_lives_ms: Sums, out: Sums) -> None:
    """Adds to `out` (M, H, 2) what each slot of `entries` (M,) had come to before that time."""
    places = np.searchsorted(run.entries, entries, side="left") - 1
    rows = _same_slot(run, places, entries)
    out[rows] += _decayed(run, places[rows], entries[rows], half_lives_ms)


def merged(older: Run, newer: Run, half_lives_ms: Sums) -> Run:
    """Both as one: each entry gets what the other run knows of its slot up to that moment."""
    starts = np.searchsorted(newer.entries, older.entries)
    equal = newer.entries[np.minimum(starts, len(newer) - 1)] == older.entries
    ends_newer = starts + equal
    ends_older = np.searchsorted(older.entries, newer.entries, side="right")
    # an entry of the newer run stands behind its equal of the older one, which is then left out
    places = np.concatenate([np.arange(len(older)) + starts, np.arange(len(newer)) + ends_older])
    entries = np.empty(len(places), dtype=np.int64)
    sums = np.empty((len(places), *older.sums.shape[1:]))
    for own, other, ends, at in (
        (older, newer, ends_newer, places[: len(older)]),
        (newer, older, ends_older, places[len(older) :]),
    ):
        entries[at], sums[at] = own.entries, own.sums
        rows = _same_slot(other, ends - 1, own.entries)
        sums[at[rows]] += _decayed(other, ends[rows] - 1, own.entries[rows], half_lives_ms)
    kept = np.append(entries[1:] != entries[:-1], True)
    newest_ms = max(older.newest_ms, newer.newest_ms)
    return Run(entries[kept], sums[kept], newest_ms, older.first_batch, older.first_clock_ms)


def last_of_each_slot(run: Run) -> Ints:
    """Places (S,) of each slot's newest entry."""
    slots = run.slots
    return np.flatnonzero(np.append(slots[1:] != slots[:-1], True))


def _same_slot(run: Run, places: Ints, entries: Ints) -> Ints:
    """Rows whose place in the run holds the slot that the entry is of."""
    found = run.entries[np.maximum(places, 0)] >> TIME_BITS
    return np.flatnonzero((places >= 0) & (found == entries >> TIME_BITS))


def _decayed(run: Run, places: Ints, entries: Ints, half_lives_ms: Sums) -> Sums:
    elapsed_ms = (entries & LAST_MS) - (run.entries[places] & LAST_MS)
    sums: Sums = run.sums[places] * decay(elapsed_ms, half_lives_ms)
    return sums


def _accumulated(entries: Ints, sums: Sums, half_lives_ms: Sums) -> Sums:
    """Running sums within each slot (N, H, 2): entry i adds entry i - 1, then i - 2, i - 4, ... with all they hold."""
    slots, times_ms = entries >> TIME_BITS, entries & LAST_MS
    rank = np.arange(len(entries)) - np.searchsorted(slots, slots)
    step, highest = 1, int(rank.max(initial=0))
    while step <= highest:
        rows = np.flatnonzero(rank >= step)
        sums[rows] += sums[rows - step] * decay(times_ms[rows] - times_ms[rows - step], half_lives_ms)
        step *= 2
    return sums

"""Outcomes of late, in order of key and time, each with what its key had come to by then.

N entries, H half-lives. An entry is one slot at one moment; `sums` holds all that this run knows of
the slot up to and with that moment, decayed to it. So what a slot had come to before any time is one
search and one decay, however many outcomes came in between, and whatever came later is not in it.

    entry     slot << 42 | time_ms         slot 3: 10:00 10:02 10:07 | slot 8: 10:01 ...
    sums      (N, H, 2) shows, outcomes            1.0   1.9   2.7           1.0
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streams.contract.columns import Array

Ints = npt.NDArray[np.int64]
Sums = npt.NDArray[np.float64]

TIME_BITS = 42
LAST_MS = (1 << TIME_BITS) - 1
"""Times are taken between 1970 and this, in the year 2109."""


@dataclass(frozen=True, slots=True)
class Run:
    """entries (N,) rising; sums (N, H, 2); its newest time; the clock when the first of it came."""

    entries: Ints
    sums: Sums
    newest_ms: int
    first_clock_ms: int
    level: int = 0
    """How many times over it was put together from smaller ones."""

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
    entries: Ints = (slots << TIME_BITS) | np.clip(times_ms, 0, LAST_MS)
    return entries


def decay(elapsed_ms: Ints, half_lives_ms: Sums) -> Sums:
    """What is left (N, H, 1) of 1 after (N,) milliseconds."""
    left: Sums = np.exp2(elapsed_ms[:, None] / -half_lives_ms)
    return left[:, :, None]


def distinct_entries(entries: Ints, added: Sums) -> tuple[Ints, Sums]:
    """(entries (M,) rising, what was added (M, 2)) of outcomes (N,), (N, 2) in any order: one slot's of one moment are
    one entry."""
    order = np.argsort(entries)
    ordered = entries[order]
    firsts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    summed: Sums = np.add.reduceat(added[order], firsts, axis=0)
    return ordered[firsts], summed


def new_run(entries: Ints, added: Sums, half_lives_ms: Sums, clock_ms: int) -> Run:
    """A run of distinct entries (N,), N > 0, and what was added (N, 2) by each."""
    newest_ms = int((entries & LAST_MS).max())
    return Run(entries, _accumulated(entries, added, half_lives_ms), newest_ms, clock_ms)


def add_before(run: Run, entries: Ints, half_lives_ms: Sums, out: Sums) -> None:
    """Adds to `out` (M, H, 2) what each slot of `entries` (M,) had come to in the run before that time."""
    places = np.searchsorted(run.entries, entries) - 1
    rows = np.flatnonzero(same_slot(run, places, entries))
    out[rows] += sums_at(run, places[rows], entries[rows], half_lives_ms)


def merged(older: Run, newer: Run, half_lives_ms: Sums) -> Run:
    """Both as one, which know nothing of each other: an entry gets what the other holds of its slot up to it."""
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
        rows = np.flatnonzero(same_slot(other, ends - 1, own.entries))
        sums[at[rows]] += sums_at(other, ends[rows] - 1, own.entries[rows], half_lives_ms)
    kept = np.append(entries[1:] != entries[:-1], True)
    newest_ms = max(older.newest_ms, newer.newest_ms)
    return Run(entries[kept], sums[kept], newest_ms, older.first_clock_ms)


def last_of_each_slot(entries: Ints) -> Ints:
    """Places (S,) of each slot's newest entry."""
    slots = entries >> TIME_BITS
    return np.flatnonzero(np.append(slots[1:] != slots[:-1], True))


def same_slot(run: Run, places: Ints, entries: Ints) -> npt.NDArray[np.bool_]:
    """(N,): whether there is such a place in the run and it holds the slot that the entry is of."""
    found: Ints = run.entries.take(places, mode="clip") >> TIME_BITS
    same: npt.NDArray[np.bool_] = (found == entries >> TIME_BITS) & (places >= 0)
    return same


def sums_at(run: Run, places: Ints, entries: Ints, half_lives_ms: Sums) -> Sums:
    """The sums (N, H, 2) at places (N,) of the run, decayed to the time of the entries (N,) of the same slots."""
    elapsed_ms = entries - run.entries[places]
    sums: Sums = run.sums.take(places, axis=0) * decay(elapsed_ms, half_lives_ms)
    return sums


def runs_state(runs: Sequence[Run], lives: int) -> dict[str, Array]:
    """Runs as arrays for a checkpoint."""
    figures = [(len(run), run.newest_ms, run.first_clock_ms, run.level) for run in runs]
    return {
        "entries": np.concatenate([np.zeros(0, dtype=np.int64), *(run.entries for run in runs)]),
        "sums": np.concatenate([np.zeros((0, lives, 2)), *(run.sums for run in runs)]),
        "runs": np.array(figures, dtype=np.int64).reshape(-1, 4),
    }


def runs_from(state: Mapping[str, Array]) -> list[Run]:
    """The inverse of `runs_state`."""
    runs, at = [], 0
    for length, *figures in state["runs"].tolist():
        piece = slice(at, at + length)
        runs.append(Run(state["entries"][piece].copy(), state["sums"][piece].copy(), *figures))
        at += length
    return runs


def _accumulated(entries: Ints, added: Sums, half_lives_ms: Sums) -> Sums:
    """Running sums within each slot (N, H, 2): entry i adds entry i - 1, then i - 2, i - 4, ... with all they hold."""
    sums = np.repeat(added[:, None, :], len(half_lives_ms), axis=1)
    rows, rank = np.arange(len(entries)), _ranks(entries)
    step = 1
    while len(rows := rows[rank[rows] >= step]):
        before = rows - step
        elapsed_ms = entries[rows] - entries[before]
        sums[rows] += sums[before] * decay(elapsed_ms, half_lives_ms)
        step *= 2
    return sums


def _ranks(entries: Ints) -> Ints:
    """(N,): how many entries of the same slot stand before it."""
    slots = entries >> TIME_BITS
    places = np.arange(len(entries))
    firsts = np.append(True, slots[1:] != slots[:-1])
    ranks: Ints = places - np.maximum.accumulate(np.where(firsts, places, 0))
    return ranks

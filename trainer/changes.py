"""What has changed since the last version that a publisher took: the content of the next delta.

    record ──> since ──(taken)──> in flight ──(committed)──> forgotten
                 ^                    │
                 └──────(lost)────────┘

A checkpoint keeps both parts together: what was taken may not have been committed when the process
dies, and to publish a row twice does no harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from streams.contract.columns import Array
from streams.contract.values import mix64
from trainer.sightings import Tables
from trainer.vocabulary import Keys

_MOST_ADS = 200_000
_MOST_TIMES = 100_000
_MOST_EVICTED = 1_000_000


@dataclass(slots=True)
class ChangeSet:
    """Slots touched (S,) bool; keys evicted; ads seen (A, F); when labels were settled."""

    touched: npt.NDArray[np.bool_]
    ads: Distinct
    evicted: list[Keys] = field(default_factory=list)
    settled_ms: list[Array] = field(default_factory=list)
    num_settled: int = 0
    num_evicted: int = 0
    overflowed: bool = False
    """Whether evicted keys were forgotten: only a whole snapshot can follow."""

    def merge(self, older: ChangeSet) -> None:
        """Adds what an older set holds."""
        self.touched |= older.touched
        self.ads.extend(older.ads.rows())
        self.evicted = older.evicted + self.evicted
        self.settled_ms = older.settled_ms + self.settled_ms
        self.num_settled += older.num_settled
        self.num_evicted += older.num_evicted
        self.overflowed |= older.overflowed

    def evict(self, keys: Keys) -> None:
        """Adds evicted keys; distinct ones are kept, up to a million."""
        self.evicted.append(keys)
        self.num_evicted += len(keys)
        if self.num_evicted > 2 * _MOST_EVICTED:
            tables, ids = self.evicted_keys()
            self.overflowed |= len(ids) > _MOST_EVICTED
            self.evicted = [] if self.overflowed else [_keys(tables, ids)]
            self.num_evicted = sum(map(len, self.evicted))

    def settled(self) -> Array:
        """All `decided_ingest_ms` (N,), in no order; beyond 100,000 an even sample of them."""
        times: Array = np.concatenate([*self.settled_ms, np.zeros(0, dtype=np.int64)])
        if len(times) > _MOST_TIMES:
            times = np.sort(times)[:: len(times) // _MOST_TIMES + 1]
        self.settled_ms, self.num_settled = [times], len(times)
        return times

    def evicted_keys(self) -> tuple[Tables, Array]:
        """The distinct (tables, ids) evicted."""
        tables = np.concatenate([keys.tables for keys in self.evicted] or [np.zeros(0, dtype=np.int16)])
        ids = np.concatenate([keys.ids for keys in self.evicted] or [np.zeros(0, dtype=np.int64)])
        keys = np.unique(np.stack([tables.astype(np.int64), ids], axis=1), axis=0)
        return keys[:, 0].astype(np.int16), keys[:, 1].copy()


class Distinct:
    """Distinct rows of `width` ids, the newest 200,000 of them; told apart by a 64-bit hash of the row."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._parts: list[Array] = []
        self._num_rows = 0

    def extend(self, rows: Array) -> None:
        """Adds rows (N, width)."""
        if self._width and len(rows):
            self._parts.append(rows)
            self._num_rows += len(rows)
            if self._num_rows > 2 * _MOST_ADS:
                self.rows()

    def rows(self) -> Array:
        """The distinct rows (A, width), oldest first."""
        if not self._parts:
            return np.zeros((0, self._width), dtype=np.int64)
        rows: Array = np.concatenate(self._parts)
        newest_first = rows[::-1]
        _, first = np.unique(_hashes(newest_first), return_index=True)
        rows = newest_first[np.sort(first)[:_MOST_ADS]][::-1].copy()
        self._parts, self._num_rows = [rows], len(rows)
        return rows


class Changes:
    """Keeps account of changes, and of which of them are on their way."""

    def __init__(self, num_slots: int, num_ad_columns: int) -> None:
        self._num_slots = num_slots
        self._num_ad_columns = num_ad_columns
        self.since = self._empty()
        self._in_flight: tuple[int, ChangeSet] | None = None

    def record(self, slots: Array, evicted: Keys, ads: Array, settled_ms: Array) -> None:
        """One batch: the slots it learnt, what it evicted, ids (E, F) of its ads, when its labels were settled."""
        since = self.since
        since.touched[slots] = True
        since.ads.extend(ads)
        if len(evicted):
            since.evict(evicted)
        if len(settled_ms):
            since.settled_ms.append(settled_ms)
            since.num_settled += len(settled_ms)
        if since.num_settled > 2 * _MOST_TIMES:
            since.settled()

    def taken(self, step: int) -> None:
        """What is here was handed over in a delta of that step."""
        assert self._in_flight is None, "one delta on its way at a time"
        self._in_flight = (step, self.since)
        self.since = self._empty()

    def settle(self, committed_step: int) -> None:
        """Nothing is on its way any more: forgets it where it was committed, takes it back where it was lost."""
        if self._in_flight is not None:
            step, taken = self._in_flight
            if committed_step < step:
                self.since.merge(taken)
            self._in_flight = None

    def state(self) -> dict[str, Array]:
        """Everything that may not be committed yet, as arrays for a checkpoint."""
        whole = self._empty()
        whole.merge(self.since)
        if self._in_flight is not None:
            whole.merge(self._in_flight[1])
        tables, ids = whole.evicted_keys()
        return {
            "touched": np.packbits(whole.touched), "ads": whole.ads.rows(), "settled_ms": whole.settled(),
            "evicted_tables": tables, "evicted_ids": ids, "overflowed": np.array([whole.overflowed]),
        }  # fmt: skip

    def load_state(self, state: Mapping[str, Array]) -> None:
        """The inverse of `state`; all of it counts as not published."""
        self._in_flight = None
        self.since = self._empty()
        self.since.touched[:] = np.unpackbits(state["touched"], count=self._num_slots).astype(np.bool_)
        self.since.ads.extend(state["ads"])
        self.since.settled_ms, self.since.num_settled = [state["settled_ms"]], len(state["settled_ms"])
        self.since.evict(_keys(state["evicted_tables"], state["evicted_ids"]))
        self.since.overflowed = bool(state["overflowed"][0])

    def _empty(self) -> ChangeSet:
        return ChangeSet(np.zeros(self._num_slots, dtype=np.bool_), Distinct(self._num_ad_columns))


def _keys(tables: Tables, ids: Array) -> Keys:
    """Keys that have lost their slots."""
    return Keys(tables, ids, np.zeros(len(ids), dtype=np.int64))


def _hashes(rows: Array) -> npt.NDArray[np.uint64]:
    hashed = np.zeros(len(rows), dtype=np.uint64)
    for column in range(rows.shape[1]):
        hashed = mix64(hashed ^ np.ascontiguousarray(rows[:, column]).view(np.uint64))
    return hashed

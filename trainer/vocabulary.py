"""Which row of which table an id has: admitted when seen often enough, evicted by age and use.

    row 0           the table's default row: every id without a row of its own
    row 1 ...       one admitted id each, never shared

The worth of a row is its use, halved for every `half_life_ms` (on the data's clock) since it was
last seen; the least worthy go first, many at a time. The mapping is a function of the sequence of
batches alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.idmap import IdMap
from trainer.admission import Admission, AdmissionConfig
from trainer.sightings import Ints, Sightings, Tables


@dataclass(frozen=True, kw_only=True, slots=True)
class VocabularyConfig:
    """When an id gets a row, and when it loses it. Times are on the data's clock."""

    admission: AdmissionConfig = field(default_factory=AdmissionConfig)
    half_life_ms: int = 24 * 3_600_000
    max_age_ms: int | None = None
    """An id not seen for so long loses its row, full table or not; None: never for its age alone."""
    evict_fraction: float = 1 / 16
    """How much of a full table is freed at once."""
    sweep_every: int = 1000
    """Batches between two searches for ids beyond `max_age_ms`."""

    def __post_init__(self) -> None:
        if not 0 < self.evict_fraction <= 1:
            raise InputError("must be above 0 and at most 1", field="evict_fraction", value=self.evict_fraction)
        for name in ("half_life_ms", "sweep_every"):
            if getattr(self, name) < 1:
                raise InputError("must be at least 1", field=name, value=getattr(self, name))


@dataclass(frozen=True, slots=True)
class Keys:
    """N rows by table number, id and place: tables (N,) int16, ids (N,), slots (N,) (see `Vocabulary.offsets`)."""

    tables: Tables
    ids: Ints
    slots: Ints

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Assignment:
    """rows (N,) of the ids asked for, slots (U,) of the distinct ones; what was admitted and evicted on the way."""

    rows: Ints
    slots: Ints
    admitted: Keys
    evicted: Keys


_NONE = Keys(np.zeros(0, dtype=np.int16), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))


class Vocabulary:
    """(table, id) -> row, for all tables. A slot is a row's number over all tables: offsets[table] + row."""

    def __init__(self, capacities: Mapping[str, int], config: VocabularyConfig) -> None:
        """`capacities`: rows a table, the default row among them, in the schema's order of tables."""
        for name, rows in capacities.items():
            if rows < 2:
                raise InputError("a table needs two rows or more", field=f"capacity.{name}", value=rows)
        self.config = config
        self.capacities = np.array(list(capacities.values()), dtype=np.int64)
        self.offsets = np.cumsum(self.capacities) - self.capacities
        self.num_slots = num_slots = int(self.capacities.sum())
        self._map = IdMap()
        self._admission = Admission(config.admission)
        self._ids = np.zeros(num_slots, dtype=np.int64)
        self._held = np.zeros(num_slots, dtype=np.bool_)
        self._held[self.offsets] = True
        self._seen_ms = np.zeros(num_slots, dtype=np.int64)
        self._uses = np.zeros(num_slots, dtype=np.uint32)
        self._free = np.zeros(num_slots, dtype=np.int64)
        """For each table, its free slots in order, at the end of its range."""
        self._num_free = np.zeros(len(self.capacities), dtype=np.int64)
        for table in range(len(self.capacities)):
            self._refill(table)
        self._now_ms = -(2**62)
        self._batches = 0

    def __len__(self) -> int:
        """How many ids have a row."""
        return len(self._map)

    def assign(self, seen: Sightings, now_ms: int) -> Assignment:
        """The rows of one batch's ids (N,), whose newest event is at `now_ms`."""
        self._now_ms = max(self._now_ms, now_ms)
        self._batches += 1
        slots = self._map.lookup(seen.tables, seen.ids).astype(np.int64)
        missing = np.flatnonzero(slots < 0)
        slots[missing] = self.offsets[seen.tables[missing]]
        self._touch(slots)
        evicted = [self._sweep()]
        admitted = _NONE
        if len(missing):
            admitted, made_room = self._admit(seen, missing, slots)
            evicted.append(made_room)
        rows = slots - self.offsets[seen.tables]
        return Assignment(rows[seen.places], slots, admitted, _join(evicted))

    def find(self, seen: Sightings) -> Assignment:
        """The rows of ids (N,) as they are: nothing is counted, admitted or evicted."""
        slots = self._map.lookup(seen.tables, seen.ids).astype(np.int64)
        slots = np.where(slots < 0, self.offsets[seen.tables], slots)
        return Assignment((slots - self.offsets[seen.tables])[seen.places], slots, _NONE, _NONE)

    def items(self) -> Keys:
        """All admitted ids by table, then by slot."""
        tables, ids, slots = self._map.items()
        return Keys(tables, ids, slots.astype(np.int64))

    def ids_at(self, slots: Ints) -> tuple[Tables, Ints]:
        """(tables, ids) of slots that hold an admitted id."""
        tables = np.searchsorted(self.offsets, slots, side="right") - 1
        return tables.astype(np.int16), self._ids[slots]

    def absent(self, tables: Tables, ids: Ints) -> npt.NDArray[np.bool_]:
        """Which of the keys (N,) have no row."""
        missing: npt.NDArray[np.bool_] = self._map.lookup(tables, ids) < 0
        return missing

    def admitted_slots(self, touched: npt.NDArray[np.bool_]) -> Ints:
        """Those of the touched slots (S,) bool that hold an admitted id, in order."""
        slots = np.flatnonzero(touched & self._held)
        return np.setdiff1d(slots, self.offsets, assume_unique=True)

    def high_water(self) -> Ints:
        """For each table, one more than the last row in use: what a checkpoint must hold."""
        ends = self.offsets + self.capacities
        tops = [int(np.flatnonzero(self._held[at:end])[-1]) + 1 for at, end in zip(self.offsets, ends, strict=True)]
        return np.array(tops, dtype=np.int64)

    def state(self) -> dict[str, Array]:
        """Everything, as arrays for a checkpoint."""
        keys = self.items()
        counts = {f"admission.{name}": array for name, array in self._admission.state().items()}
        return {
            "capacities": self.capacities, "tables": keys.tables, "ids": keys.ids, "slots": keys.slots,
            "seen_ms": self._seen_ms[keys.slots], "uses": self._uses[keys.slots],
            "clock": np.array([self._now_ms, self._batches], dtype=np.int64), **counts,
        }  # fmt: skip

    def load_state(self, state: Mapping[str, Array]) -> None:
        """The inverse of `state`. Raises InputError where the tables have other capacities."""
        if not np.array_equal(state["capacities"], self.capacities):
            raise InputError(
                "the checkpoint has tables of other sizes",
                field="capacities",
                value=state["capacities"].tolist(),
                remedy="resume with the recipe that made it",
            )
        slots = state["slots"]
        self._map = IdMap(len(slots))
        self._map.insert(state["tables"], state["ids"], slots.astype(np.int32))
        self._held[:] = False
        self._held[self.offsets] = True
        self._held[slots] = True
        self._ids[slots], self._seen_ms[slots], self._uses[slots] = state["ids"], state["seen_ms"], state["uses"]
        for table in range(len(self.capacities)):
            self._refill(table)
        self._now_ms, self._batches = state["clock"].tolist()
        prefix = "admission."
        self._admission.load_state({n.removeprefix(prefix): a for n, a in state.items() if n.startswith(prefix)})

    def _touch(self, slots: Ints) -> None:
        """A row counts one use a batch, however often it stands in it."""
        self._seen_ms[slots] = self._now_ms
        self._uses[slots] += 1

    def _admit(self, seen: Sightings, missing: Ints, slots: Ints) -> tuple[Keys, Keys]:
        """Gives rows to those of the keys at the places `missing` that are due; writes their slots to `slots` (U,).

        Returns what was admitted, and what was evicted for them: nothing that the batch holds.
        """
        keys, key_ids = seen.tables[missing], seen.ids[missing]
        due = np.flatnonzero(self._admission.admit(keys, key_ids, seen.counts[missing]))
        evicted = self._make_room(np.bincount(keys[due], minlength=len(self.offsets)), slots)
        due, new = self._grant(keys, due)
        admitted = Keys(keys[due], key_ids[due], new)
        self._map.insert(admitted.tables, admitted.ids, new.astype(np.int32))
        self._held[new], self._ids[new], self._uses[new] = True, admitted.ids, 1
        self._seen_ms[new] = self._now_ms
        slots[missing[due]] = new
        return admitted, evicted

    def _grant(self, keys: Tables, due: Ints) -> tuple[Ints, Ints]:
        """Takes free slots for the keys' tables at the places `due`, which rise with the table; those served, slots."""
        tables = keys[due].astype(np.int64)
        rank = np.arange(len(due)) - np.searchsorted(tables, tables)
        served = rank < self._num_free[tables]
        due, tables, rank = due[served], tables[served], rank[served]
        ends = self.offsets + self.capacities
        slots = self._free[ends[tables] - self._num_free[tables] + rank]
        self._num_free -= np.bincount(tables, minlength=len(self.offsets))
        return due, slots

    def _refill(self, table: int) -> None:
        """The table's free slots, lowest first: they follow from those held, and need no place in a checkpoint."""
        at, end = self.offsets[table], self.offsets[table] + self.capacities[table]
        free = at + np.flatnonzero(~self._held[at:end])
        self._free[end - len(free) : end] = free
        self._num_free[table] = len(free)

    def _make_room(self, wanted: Ints, in_batch: Ints) -> Keys:
        """Evicts the least worthy rows of tables with fewer free rows than `wanted` (T,); those of the batch stay."""
        evicted = []
        for table in np.flatnonzero(wanted > self._num_free).tolist():
            old = self._held_slots(table, but=in_batch)
            ages = (self._now_ms - self._seen_ms[old]) / self.config.half_life_ms
            worth = np.log2(self._uses[old]) - ages
            missing = int(wanted[table] - self._num_free[table])
            batch = max(missing, int(self.config.evict_fraction * self.capacities[table]))
            evicted.append(self._evict(table, np.sort(old[np.lexsort((old, worth))[:batch]])))
        return _join(evicted)

    def _sweep(self) -> Keys:
        if self.config.max_age_ms is None or self._batches % self.config.sweep_every:
            return _NONE
        oldest_ms = self._now_ms - self.config.max_age_ms
        swept = []
        for table in range(len(self.offsets)):
            held = self._held_slots(table)
            swept.append(self._evict(table, held[self._seen_ms[held] < oldest_ms]))
        return _join(swept)

    def _held_slots(self, table: int, but: Ints | None = None) -> Ints:
        """Slots of the table's admitted ids, without those in `but`."""
        at, end = self.offsets[table], self.offsets[table] + self.capacities[table]
        held = self._held[at:end].copy()
        held[0] = False
        if but is not None:
            held[but[(but >= at) & (but < end)] - at] = False
        slots: Ints = at + np.flatnonzero(held)
        return slots

    def _evict(self, table: int, slots: Ints) -> Keys:
        evicted = Keys(np.full(len(slots), table, dtype=np.int16), self._ids[slots], slots)
        self._map.remove(evicted.tables, evicted.ids)
        self._held[slots] = False
        self._refill(table)
        return evicted


def _join(keys: list[Keys]) -> Keys:
    filled = [each for each in keys if len(each)]
    if len(filled) < 2:
        return filled[0] if filled else _NONE
    return Keys(
        np.concatenate([each.tables for each in filled]),
        np.concatenate([each.ids for each in filled]),
        np.concatenate([each.slots for each in filled]),
    )

"""Which ads have a bundle in Redis, so that a changed row is rewritten in each bundle that holds it.

    ads of a delta ──> new bundles                      ┐
    rows, tombstones ──> rows that stand in bundles ──> ├─> bundles to write, whole
    rows in more than `share_limit` bundles ──> out     ┘

Bounded: beyond `capacity` ads the one not seen for longest loses its bundle, and a reader falls back
to its single rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from streams.contract.bundles import BundleLayout, Bundles, bundle_keys, encode_bundles
from streams.contract.columns import Array
from streams.contract.idmap import IdMap
from streams.contract.manifest import Rows
from streams.contract.rows import encode_rows, row_bytes
from streams.store.generation_rows import FetchedRows
from streams.store.row_writer import BundleWrite
from streams.versions.bundle_members import Members

Fetch = Callable[[Mapping[int, Array]], FetchedRows]
"""Rows of `{table number: ids}` as the store holds them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleConfig:
    """`capacity` in ads; a row in more than `share_limit` bundles is kept once, as a single row."""

    capacity: int = 100_000
    share_limit: int = 64


class BundleIndex:
    """The bundles of one generation. Not for several threads at once."""

    def __init__(self, layout: BundleLayout, config: BundleConfig | None = None) -> None:
        self._layout = layout
        self._config = config or BundleConfig()
        self._members = Members(row_bytes(layout.dim, layout.encoding), self._config.share_limit)
        self._slots = IdMap()
        capacity, num = self._config.capacity, layout.num_features
        self._keys = np.zeros(capacity, dtype=np.int64)
        self._ids = np.zeros((capacity, num), dtype=np.int64)
        self._places = np.zeros((capacity, num), dtype=np.int32)
        self._seen = np.zeros(capacity, dtype=np.int64)
        self._held = np.zeros(capacity, dtype=np.bool_)
        self._stale = np.zeros(capacity, dtype=np.bool_)
        # of bundles that were loaded, until `settle`
        self._was_shared = np.zeros((capacity, num), dtype=np.bool_)

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def ads(self) -> Array:
        """The ids (B, F) of the ads that have a bundle."""
        held: Array = self._ids[self._held]
        return held

    def apply(
        self, version: int, rows: Mapping[int, Rows], tombstones: Mapping[int, Array], ads: Array, fetch: Fetch
    ) -> BundleWrite:
        """The bundles that `version` writes and removes. rows and tombstones by table number; ads (A, F) seen.

        `fetch` must answer as the store was before the version. Where it raises, nothing has changed here.
        """
        if self._layout.num_features == 0:
            return BundleWrite()
        ads, keys = _first_of_each_key(ads[: self._config.capacity])
        slots = self._slots.lookup(_zeros(keys), keys)
        known, fresh = slots[slots >= 0], slots < 0
        fetched = self._fetch_strangers(ads[fresh], fetch)
        self._seen[known] = version
        dropped = self._drop_oldest(len(self) + int(fresh.sum()) - self._config.capacity)
        removed, left = self._keys[dropped], self._places[dropped].ravel()
        new_slots, crowded = self._add(ads[fresh], keys[fresh], version, fetched)
        # Behind `_add`: a row that the new ads share with the dropped ones is not forgotten in between.
        self._members.leave(left)
        changed = np.concatenate([self._change(rows, tombstones), crowded])
        self._stale[new_slots] = True
        self._stale[self._holding(changed, crowded)] = True
        return self._write(version, np.flatnonzero(self._stale & self._held), removed)

    def load(self, bundles: Bundles) -> Array:
        """Takes bundles found in the store; returns the keys of those there is no room for, to be removed.

        A bundle that a crash left behind the others is written again by the next `apply`.
        """
        order = np.argsort(bundles.versions, kind="stable")
        keys = bundle_keys(bundles.ids)
        absent = self._slots.lookup(_zeros(keys), keys)[order] < 0
        order = order[absent]
        room = self._config.capacity - len(self)
        taken, left = order[:room], order[room:]
        slots = self._occupy(bundles.ids[taken], keys[taken], 0)
        self._seen[slots] = bundles.versions[taken]
        self._members.join(self._places[slots].ravel())
        self._take_values(bundles, taken, slots)
        surplus: Array = keys[left]
        return surplus

    def settle(self) -> None:
        """After the last `load`: finds the bundles that hold a row which others call shared."""
        held = np.flatnonzero(self._held)
        self._stale[held] = (self._members.shared[self._places[held]] & ~self._was_shared[held]).any(axis=1)

    def _take_values(self, bundles: Bundles, taken: Array, slots: Array) -> None:
        members, layout, places = self._members, self._layout, self._places[slots]
        included, versions = bundles.included[taken], bundles.versions[taken][:, None]
        self._was_shared[slots] = ~included & ~bundles.absent[taken]
        members.shared[places[self._was_shared[slots]]] = True
        newer = versions >= members.versions[places]
        num, width = layout.num_features, row_bytes(layout.dim, layout.encoding)
        encoded = encode_rows(bundles.rows[taken].reshape(-1, layout.dim), layout.encoding).reshape(-1, num, width)
        # In order of version, so that the newest of several is the one that stays.
        members.values[places[newer]] = encoded[newer]
        members.present[places[newer]] = included[newer]
        members.versions[places[newer]] = np.broadcast_to(versions, newer.shape)[newer]

    def _fetch_strangers(self, ads: Array, fetch: Fetch) -> tuple[Array, Array, FetchedRows] | None:
        """(tables, ids, rows) of the ids of new ads that stand in no bundle yet."""
        tables = np.broadcast_to(self._layout.tables, ads.shape).ravel()
        strange = self._members.find(tables, ads.ravel()) < 0
        if not strange.any():
            return None
        pairs = np.unique(np.stack([tables[strange], ads.ravel()[strange]]), axis=1)
        wanted = {int(table): pairs[1][pairs[0] == table] for table in np.unique(pairs[0])}
        return pairs[0], pairs[1], fetch(wanted)

    def _add(
        self, ads: Array, keys: Array, version: int, fetched: tuple[Array, Array, FetchedRows] | None
    ) -> tuple[Array, Array]:
        """(slots of the new bundles, places of rows that became shared)."""
        if fetched is not None:
            tables, ids, rows = fetched
            places = self._members.add(tables, ids)[rows.found]
            self._members.set_rows(places, encode_rows(rows.values[rows.found], self._layout.encoding))
        slots = self._occupy(ads, keys, version)
        return slots, self._members.join(self._places[slots].ravel())

    def _occupy(self, ads: Array, keys: Array, version: int) -> Array:
        """Slots for new ads; their ids that stand in no bundle yet get a place without a row."""
        slots = np.flatnonzero(~self._held)[: len(ads)].astype(np.int32)
        tables = np.broadcast_to(self._layout.tables, ads.shape).ravel()
        missing = self._members.find(tables, ads.ravel()) < 0
        if missing.any():
            self._members.add(*np.unique(np.stack([tables[missing], ads.ravel()[missing]]), axis=1))
        self._slots.insert(_zeros(keys), keys, slots)
        self._keys[slots], self._ids[slots] = keys, ads
        self._places[slots] = self._members.find(tables, ads.ravel()).reshape(ads.shape)
        self._seen[slots], self._held[slots] = version, True
        return slots

    def _drop_oldest(self, surplus: int) -> Array:
        """Drops the ads not seen for longest; returns their slots."""
        if surplus <= 0:
            return np.zeros(0, dtype=np.int64)
        held = np.flatnonzero(self._held)
        oldest: Array = held[np.argsort(self._seen[held], kind="stable")[:surplus]]
        self._slots.remove(_zeros(oldest), self._keys[oldest])
        self._held[oldest] = self._stale[oldest] = False
        return oldest

    def _change(self, rows: Mapping[int, Rows], tombstones: Mapping[int, Array]) -> Array:
        """Takes over new values; returns the places that changed."""
        changed = [np.zeros(0, dtype=np.int32)]
        for table, of_table in rows.items():
            places, held = self._held_members(table, of_table.ids)
            self._members.set_rows(places, encode_rows(of_table.values[held], self._layout.encoding))
            changed.append(places)
        for table, ids in tombstones.items():
            places, _ = self._held_members(table, ids)
            self._members.present[places] = False
            changed.append(places)
        return np.concatenate(changed)

    def _held_members(self, table: int, ids: Array) -> tuple[Array, Array]:
        """(places of those ids that stand in a bundle, which of the ids they are)."""
        places = self._members.find(np.full(len(ids), table), ids)
        held = np.flatnonzero(places >= 0)
        return places[held], held

    def _holding(self, changed: Array, crowded: Array) -> Array:
        """Slots of the bundles that hold a changed row; a shared one only when it has just become so."""
        marked = changed[~self._members.shared[changed]]
        is_marked = np.zeros(len(self._members.present), dtype=np.bool_)
        is_marked[marked] = is_marked[crowded] = True
        if not is_marked.any():
            return np.zeros(0, dtype=np.int64)
        slots: Array = np.flatnonzero(self._held & is_marked[self._places].any(axis=1))
        return slots

    def _write(self, version: int, slots: Array, removed: Array) -> BundleWrite:
        self._stale[slots] = False
        places = self._places[slots]
        shared, present = self._members.shared[places], self._members.present[places]
        values = encode_bundles(
            self._layout, version, self._ids[slots], present & ~shared, ~present & ~shared, self._members.values[places]
        )
        return BundleWrite(self._keys[slots], values, removed)


def _zeros(keys: Array) -> Array:
    return np.zeros(len(keys), dtype=np.int16)


def _first_of_each_key(ads: Array) -> tuple[Array, Array]:
    keys = bundle_keys(ads)
    _, first = np.unique(keys, return_index=True)
    first.sort()
    return ads[first], keys[first]

"""The scorer's way to the store: opened when it answers, given up for a moment when it does not.

A batch must not wait for a server that is away. So the first failure closes the way for batches,
and the watcher, which has time, opens it again when the server answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from streams.contract.bundles import Bundles
from streams.contract.columns import Array
from streams.contract.errors import UnavailableError
from streams.contract.idmap import IdMap
from streams.contract.manifest import Generation
from streams.store.generation_rows import FetchedRows, GenerationRows
from streams.store.redis_client import Command, RedisConfig
from streams.store.row_store import RowStore, open_row_store

_FOR_BATCHES = RedisConfig(connect_timeout_seconds=0.1, num_retries=0)
_FOR_LOADING = RedisConfig(connect_timeout_seconds=1.0, timeout_seconds=10.0, num_retries=1)


class StoreLink:
    """One model's store. `fetch` is for batches; `store` for threads that may wait."""

    def __init__(self, address: str, model: str, *, password: str = "", timeout_seconds: float = 0.25) -> None:
        """A batch waits `timeout_seconds` for an answer."""
        self._address = address
        self._for_quick = replace(_FOR_BATCHES, timeout_seconds=timeout_seconds)
        self.model = model
        self._password = password
        self._store: RowStore | None = None
        self._quick: RowStore | None = None
        self._rows: tuple[int, GenerationRows] | None = None
        self._was_live = self._is_lost = False
        self.available = False

    @property
    def store(self) -> RowStore:
        """The store with patience. Raises UnavailableError where it cannot be reached, InputError for a bad address."""
        if self._store is None:
            self._store = self._open(_FOR_LOADING)
        return self._store

    def live_generation(self) -> int | None:
        """The live pointer; asking it opens the way for batches or closes it. Raises UnavailableError.

        A store that has no live generation any more has lost its rows too: it would look as if no id had one.
        """
        try:
            live = self.store.live()
            if self._quick is None:
                self._quick = self._open(self._for_quick)
        except UnavailableError:
            self.available = False
            raise
        self._was_live = self._was_live or live is not None
        self.available = not self._is_lost and (live is not None or not self._was_live)
        return live

    def fetch(self, generation: Generation, tables: Array, ids: Array, ads: Array) -> FetchedRows:
        """Rows of keys (N,) that differ, in their order; ads (B, F): the ad ids of bundles that hold some of them.

        One trip a node, and a second for rows that a bundle was expected to hold and does not.
        Raises UnavailableError at once where the store was away a moment ago.
        """
        with self._for_batches() as store:
            return _fetch(self._rows_of(generation, store), tables, ids, ads)

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to commands that are no rows', in one trip a node. Raises UnavailableError as `fetch` does."""
        with self._for_batches() as store:
            return store.nodes.execute(commands)

    @contextmanager
    def _for_batches(self) -> Iterator[RowStore]:
        """The store without patience; its first failure closes the way."""
        if not self.available or self._quick is None:
            raise UnavailableError("was away a moment ago", field="redis", value=self._address)
        try:
            yield self._quick
        except UnavailableError:
            self.available = False
            raise

    def lose(self) -> None:
        """What is served was loaded from rows that the store has lost: no batch asks it until `regain`."""
        self._is_lost = True
        self.available = False

    def regain(self) -> None:
        """What is served has been loaded again."""
        self._is_lost = False
        self.available = True

    def _rows_of(self, generation: Generation, store: RowStore) -> GenerationRows:
        if self._rows is None or self._rows[0] != generation.generation:
            self._rows = (generation.generation, GenerationRows(store.nodes, generation))
        return self._rows[1]

    def _open(self, config: RedisConfig) -> RowStore:
        return open_row_store(self._address, model=self.model, password=self._password, config=config)

    def close(self) -> None:
        """Frees connections."""
        for store in (self._store, self._quick):
            if store is not None:
                store.close()


def _fetch(rows: GenerationRows, tables: Array, ids: Array, ads: Array) -> FetchedRows:
    places = IdMap(max(16, len(ids)))
    places.insert(tables, ids, np.arange(len(ids), dtype=np.int32))
    bundled = np.zeros(len(ids), dtype=np.bool_)
    if len(ads):
        of_ads = places.lookup(np.tile(rows.layout.tables.astype(np.int16), len(ads)), ads.reshape(-1))
        bundled[of_ads[of_ads >= 0]] = True
    alone = np.flatnonzero(~bundled)
    singles, fetched_ads = rows.fetch(_by_table(tables[alone], ids[alone]), ads)
    answer = FetchedRows(
        np.zeros((len(ids), singles.values.shape[1]), dtype=np.float32),
        np.zeros(len(ids), dtype=np.int64),
        np.zeros(len(ids), dtype=np.bool_),
    )
    _fill(answer, alone, tables[alone], singles)
    known = _unpack_bundles(answer, places, rows.layout.tables, fetched_ads.bundles)
    left = np.flatnonzero(bundled & ~known)
    if len(left):
        _fill(answer, left, tables[left], rows.fetch_rows(_by_table(tables[left], ids[left])))
    return answer


def _by_table(tables: Array, ids: Array) -> dict[int, Array]:
    return {int(table): ids[tables == table] for table in np.unique(tables)}


def _fill(answer: FetchedRows, places: Array, tables: Array, fetched: FetchedRows) -> None:
    """Puts rows that were fetched table by table into their places."""
    order = places[np.argsort(tables, kind="stable")]
    answer.values[order], answer.versions[order], answer.found[order] = fetched.values, fetched.versions, fetched.found


def _unpack_bundles(answer: FetchedRows, places: IdMap, layout_tables: Array, bundles: Bundles) -> Array:
    """Takes what the bundles say of the wanted keys; returns which keys (N,) they say something of."""
    known = np.zeros(len(answer.versions), dtype=np.bool_)
    if not len(bundles.ids):
        return known
    tables = np.tile(layout_tables.astype(np.int16), len(bundles.ids))
    place = places.lookup(tables, bundles.ids.reshape(-1))
    versions = np.repeat(bundles.versions, len(layout_tables))
    says = (bundles.included | bundles.absent).reshape(-1) & (place >= 0)
    # Several bundles may hold one row; the newest comes last and stays.
    order = np.flatnonzero(says)[np.argsort(versions[says], kind="stable")]
    answer.values[place[order]] = bundles.rows.reshape(len(tables), -1)[order]
    answer.found[place[order]] = bundles.included.reshape(-1)[order]
    answer.versions[place[order]] = versions[order]
    known[place[order]] = True
    return known

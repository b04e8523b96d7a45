"""What units like already, as the recommender's learner wrote it to Redis, for arms that answer without its model.

    behind requests   live generation, its newest version ──> names of items by number
    a request         one row of the table `histories`, in a share of its time ──> names

Rows hold numbers, and a number means what its generation says, so both are read of one generation. Where Redis is
away or slow, the answer is that nothing is known, at once: whoever asks goes on without it, and says so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from serving.gateway.deadline_shares import DeadlineShares
from serving.recommender.catalogue import Catalogue, new_catalogue
from serving.scorer.store_link import StoreLink
from streams.contract.columns import Array
from streams.contract.errors import FormatError, FreshetError
from streams.contract.manifest import Generation
from streams.contract.recommender import CATALOGUE, HISTORIES, Item, history_of, unpack_items, user_keys

_LOGGER = logging.getLogger(__name__)
_READERS = 4
_NO_ADS: Array = np.zeros((0, 1), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Seen:
    """Names of items that a unit likes already; `is_whole`: all that the stream has told."""

    items: frozenset[str]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class _Named:
    """One generation and its items as of `version`; `table` is the number of its table `histories`."""

    generation: Generation
    table: int
    version: int
    catalogue: Catalogue


_NOTHING = Seen(frozenset(), is_whole=True)
_UNKNOWN = Seen(frozenset(), is_whole=False)


class SeenItems:
    """Use `refresh`, then `follow`; asked before, it knows nothing."""

    def __init__(self, link: StoreLink, shares: DeadlineShares, *, poll_seconds: float) -> None:
        self._link = link
        self._shares = shares
        self._poll_seconds = poll_seconds
        self._threads = ThreadPoolExecutor(_READERS, thread_name_prefix="seen-items")
        self._named: _Named | None = None
        self._is_known = False
        self._failure = ""

    async def of(self, unit_id: str, deadline: float) -> Seen:
        """What the unit likes, from one read of Redis. `deadline` is in `time.monotonic()` seconds. Raises nothing."""
        named, left = self._named, deadline - time.monotonic()
        if not self._is_known or not self._link.available or left <= 0:
            return _UNKNOWN
        if named is None:
            return _NOTHING
        reading = asyncio.get_running_loop().run_in_executor(self._threads, self._read, named, unit_id)
        try:
            return await asyncio.wait_for(reading, self._shares.seconds("history", left))
        except (TimeoutError, FreshetError):
            return _UNKNOWN

    async def refresh(self) -> None:
        """Reads which generation is live and what its items are called; what is known stays where Redis is away."""
        try:
            await asyncio.to_thread(self._refresh)
            self._failure = ""
        except FreshetError as error:
            if str(error) != self._failure:
                _LOGGER.warning("cannot read what units like already: %s", error)
            self._failure = str(error)

    async def follow(self) -> None:
        """Refreshes for ever."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._poll_seconds)

    def close(self) -> None:
        """Frees threads and connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._link.close()

    def _read(self, named: _Named, unit_id: str) -> Seen:
        table = np.array([named.table], dtype=np.int16)
        rows = self._link.fetch(named.generation, table, user_keys([unit_id]), _NO_ADS)
        if not rows.found[0]:
            return _NOTHING
        numbers = history_of(rows.values[0])
        # A like of the last moment may be of an item whose name is not read yet.
        known = numbers[numbers < len(named.catalogue)].tolist()
        return Seen(frozenset(named.catalogue[n].name for n in known), is_whole=len(known) == len(numbers))

    def _refresh(self) -> None:
        live = self._link.live_generation()
        if live is not None:
            self._named = self._named_of(live)
        # A store that lost its rows would look as if nobody liked anything.
        self._is_known = live is not None or self._named is None

    def _named_of(self, live: int) -> _Named:
        store, before = self._link.store, self._named
        if before is None or not self._is_known or before.generation.generation != live:
            items = unpack_items(store.program(live, CATALOGUE))
            before = _named_at_first(store.generation(live), Catalogue([Item(item.name) for item in items]))
        head = store.head(live)
        if head is None or head.version == before.version:
            return before
        version, dense = store.dense(live)
        return _Named(before.generation, before.table, version, new_catalogue(dense, before.catalogue))


def _named_at_first(generation: Generation, catalogue: Catalogue) -> _Named:
    if HISTORIES not in generation.tables:
        raise FormatError(f"has no table {HISTORIES}", field="generation", value=generation.generation,
                          remedy="start a new generation")  # fmt: skip
    return _Named(generation, list(generation.tables).index(HISTORIES), 0, catalogue)

"""Ids to slots, with the store's help for those that are not hot, at one version throughout.

hot?  ──yes──> slot
  │ no: one trip to the store
  ├─ row at most as new as our version          ─> becomes hot
  ├─ no row, and none was taken away since      ─> remembered as unknown: the default row
  ├─ row or removal newer than our version      ─> apply the log up to it first, look again
  └─ store away, or the log does not come       ─> the default row, flagged, not remembered
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from serving.scorer.hot_rows import HotRows
from serving.scorer.keys import distinct
from serving.scorer.pooling import tables_of_values
from serving.scorer.served_generation import ServedGeneration
from streams.contract.columns import Array
from streams.contract.errors import UnavailableError
from streams.contract.features import FeatureBatch
from streams.contract.manifest import Generation
from streams.contract.wire import DEFAULTS_USED_FOR_MISSES, STALE_UPDATES, STORE_UNAVAILABLE
from streams.store.generation_rows import FetchedRows


class Fetcher(Protocol):
    """The part of the store that a batch may wait for."""

    def fetch(self, generation: Generation, tables: Array, ids: Array, ads: Array) -> FetchedRows:
        """Rows of keys (N,) that differ; ads (B, F): ad ids whose rows lie packed together. Raises UnavailableError."""


class Holder(Protocol):
    """The part of a served generation that keeps rows in memory."""

    @property
    def generation(self) -> Generation:
        """What it is."""
        ...

    @property
    def rows(self) -> HotRows:
        """The rows in memory."""
        ...

    @property
    def version(self) -> int:
        """The version applied."""
        ...

    def catch_up(self, version: int, timeout_seconds: float) -> bool:
        """See FollowedGeneration."""
        ...


@dataclass(frozen=True, slots=True)
class Resolved:
    """Slots (n,) and (m,) int32 of the two sides' ids, and (K,) of their counters' keys, all valid; flags of the wire.

    num_misses: keys that were asked for; num_defaults: values that a default row stands for.
    """

    request_slots: Array
    candidate_slots: Array
    counter_slots: Array
    flags: int
    num_misses: int
    num_defaults: int


def resolve(served: ServedGeneration, batch: FeatureBatch, fetcher: Fetcher, timeout_seconds: float) -> Resolved:
    """The slot of every id. The caller holds the scorer's lock; versions may be applied within."""
    ids = [batch.request.ids, batch.candidate.ids]
    tables = [
        tables_of_values(served.request_tables, batch.request.lengths),
        tables_of_values(served.candidate_tables, batch.candidate.lengths),
    ]
    if served.counters is not None:
        counted_tables, counted_ids = served.counters.keys_of(batch)
        ids.append(counted_ids)
        tables.append(counted_tables.astype(np.int16))
    return _resolve(served, batch, np.concatenate(tables), np.concatenate(ids), fetcher, timeout_seconds)


def _resolve(
    served: ServedGeneration, batch: FeatureBatch, tables: Array, ids: Array, fetcher: Fetcher, timeout_seconds: float
) -> Resolved:
    """`tables` and `ids` (n + m + K,): the request's keys, the candidates', the counters'."""
    rows = served.rows
    num_request, num_both = len(batch.request.ids), len(batch.request.ids) + len(batch.candidate.ids)
    rows.begin_batch()
    slots = rows.lookup(tables, ids)
    missing = np.flatnonzero(slots < 0)
    flags = 0
    num_misses = 0
    if len(missing):
        wanted = missing[distinct(tables[missing], ids[missing])]
        num_misses = len(wanted)
        ads = _ads_to_ask_for(batch, served.bundled_columns, slots[num_request:num_both])
        flags = bring(served, tables[wanted], ids[wanted], ads, fetcher, timeout_seconds)
        slots = rows.lookup(tables, ids)
        missing = np.flatnonzero(slots < 0)
        slots[missing] = tables[missing]
    num_defaults = int(np.count_nonzero(slots[:num_both] < len(served.generation.tables)))
    return Resolved(slots[:num_request], slots[num_request:num_both], slots[num_both:], flags, num_misses, num_defaults)


def bring(served: Holder, tables: Array, ids: Array, ads: Array, fetcher: Fetcher, timeout_seconds: float) -> int:
    """Makes keys (N,) that differ hot or known to have no row; returns flags. Versions may be applied within."""
    try:
        stored = fetcher.fetch(served.generation, tables, ids, ads)
    except UnavailableError:
        return STORE_UNAVAILABLE | DEFAULTS_USED_FOR_MISSES
    newest = int(stored.versions.max())
    flags = 0
    if newest > served.version and not served.catch_up(newest, timeout_seconds):
        flags = STALE_UPDATES | DEFAULTS_USED_FOR_MISSES
    usable = stored.versions <= served.version
    found = usable & stored.found
    served.rows.put_absent(tables[found], ids[found], stored.values[found])
    unknown = usable & ~stored.found
    served.rows.remember_unknown(tables[unknown], ids[unknown])
    return flags


def _ads_to_ask_for(batch: FeatureBatch, columns: Array, slots: Array) -> Array:
    """Ad ids (B, F) of the candidates that lack two rows or more of their bundle, each once.

    columns (F,) are the bundled keys' places among the candidate's, all single-valued; slots are the
    candidate side's (m,), -1 where missing.
    """
    num_candidates = len(batch.request_index)
    ends = batch.candidate.lengths.sum(axis=1).cumsum()
    places = (ends[columns] - num_candidates)[:, None] + np.arange(num_candidates)
    of_single = bool((batch.candidate.lengths[columns] == 1).all())
    if not of_single or not len(columns):
        return np.zeros((0, len(columns)), dtype=np.int64)
    lacking = (slots[places] < 0).sum(axis=0) >= 2
    ads: Array = np.unique(batch.candidate.ids[places][:, lacking].T, axis=0)
    return ads

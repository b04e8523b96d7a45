"""Which distinct keys (table, id) a batch holds: worked out ahead of the vocabulary, as it needs no state.

    ids of the batch (N,)  ── order by table, id ──>  distinct keys (U,), how often each, and for each of the N its key

The vocabulary then looks up, counts and admits U keys instead of N, in the order in which it gives out rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streams.contract.features import FeatureBatch, Side
from streams.contract.schema import Schema

Ints = npt.NDArray[np.int64]
Tables = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Sightings:
    """U distinct keys by table, then by id: tables, ids, counts (U,); places (N,) of the N asked for among them."""

    tables: Tables
    ids: Ints
    counts: Ints
    places: Ints


def sightings(tables: Tables, ids: Ints) -> Sightings:
    """The distinct keys among (table, id) (N,)."""
    return _from_order(tables, ids, np.lexsort((ids, tables)))


class SightingsOf:
    """The distinct keys of a FeatureBatch, its N ids in the order request.ids, candidate.ids."""

    def __init__(self, schema: Schema) -> None:
        numbers = {name: number for number, name in enumerate(schema.tables)}
        keys = [*schema.sparse(of_request=True), *schema.sparse(of_request=False)]
        self._key_tables = np.array([numbers[key.table] for key in keys], dtype=np.int16)
        self._key_order = np.argsort(self._key_tables, kind="stable")
        self._one_key_a_table = len(set(self._key_tables.tolist())) == len(keys)

    def __call__(self, features: FeatureBatch) -> Sightings:
        """Pure: safe in any thread."""
        request, candidate = features.request, features.candidate
        ids = np.concatenate([request.ids, candidate.ids])
        tables = np.repeat(self._key_tables, np.concatenate([_ids_a_key(request), _ids_a_key(candidate)]))
        if self._one_key_a_table and len(ids) == request.lengths.size + candidate.lengths.size:
            order = self._order_of_blocks(request, candidate)
            if order is not None:
                return _from_order(tables, ids, order)
        return sightings(tables, ids)

    def _order_of_blocks(self, request: Side, candidate: Side) -> Ints | None:
        """One sort a key, several times as fast as one over all ids; None where a bag is empty or has several."""
        if not all((side.lengths == 1).all() for side in (request, candidate)):
            return None
        starts, orders = 0, []
        for side in (request, candidate):
            num_keys, num_rows = side.lengths.shape
            order = np.argsort(side.ids.reshape(num_keys, num_rows), axis=1)
            orders += list(order + (starts + np.arange(num_keys) * num_rows)[:, None])
            starts += num_keys * num_rows
        ordered: Ints = np.concatenate([orders[key] for key in self._key_order])
        return ordered


def _ids_a_key(side: Side) -> Ints:
    counts: Ints = side.lengths.sum(axis=1, dtype=np.int64)
    return counts


def _from_order(tables: Tables, ids: Ints, order: Ints) -> Sightings:
    sorted_tables, sorted_ids = tables[order], ids[order]
    begins = np.ones(len(ids), dtype=np.bool_)
    begins[1:] = (sorted_ids[1:] != sorted_ids[:-1]) | (sorted_tables[1:] != sorted_tables[:-1])
    starts = np.flatnonzero(begins)
    places = np.empty(len(ids), dtype=np.int64)
    places[order] = np.cumsum(begins) - 1
    return Sightings(sorted_tables[starts], sorted_ids[starts], np.diff(starts, append=len(ids)), places)

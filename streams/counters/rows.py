"""Counters as rows of a version: they travel, lie in Redis, stay hot and are evicted as embedding rows are.

    table `counter.of.NAME`, id of the key   row (D,) float32: time, high and low part | H x (shows, outcomes) | zeros

A row is what its key had come to at its time; whoever reads it decays it to the moment of the request. A row of
zeros, the table's default row, is a key of which nothing is known.
"""

from __future__ import annotations

import numpy as np

from streams.contract.columns import Array
from streams.contract.counters import TABLE_PREFIX, half_lives_of
from streams.contract.errors import InputError
from streams.contract.features import FeatureBatch
from streams.contract.schema import Schema
from streams.counters.columns import CounterValues, with_values
from streams.counters.keys import BatchKeys, CounterKeys
from streams.counters.runs import Sums, decay

_LOW_BITS = 21
"""Of a time: float32 holds either part of it exactly."""
_TIME_PLACES = 2


def served_tables(schema: Schema) -> dict[str, int]:
    """The tables that versions of the schema's model hold: embeddings, then counters, everything first.

    Raises InputError where a counter does not fit into a row.
    """
    tables = schema.tables
    if not schema.counters:
        return tables
    dim, places = max(tables.values()), _TIME_PLACES + 2 * len(half_lives_of(schema.counters))
    if places > dim:
        raise InputError(f"take {places} places of a row", field="counters.half_lives_seconds", value=dim,
                         remedy=f"use fewer half-lives, or give features a dim of {places}")  # fmt: skip
    return {**tables, **dict.fromkeys(counter_tables(schema), dim)}


def counter_tables(schema: Schema) -> list[str]:
    """Tables by the counter's number."""
    return [f"{TABLE_PREFIX}everything", *(f"{TABLE_PREFIX}of.{counter.name}" for counter in schema.counters)]


def rows_of(sums: Sums, at_ms: int, dim: int) -> Array:
    """Rows (N, D) of sums (N, H, 2) at one time."""
    rows = np.zeros((len(sums), dim), dtype=np.float32)
    rows[:, 0], rows[:, 1] = at_ms >> _LOW_BITS, at_ms & ((1 << _LOW_BITS) - 1)
    rows[:, _TIME_PLACES : _TIME_PLACES + sums[0].size if len(sums) else None] = sums.reshape(len(sums), -1)
    return rows


class RowCounters:
    """Fills in the counters of requests from rows: the scorer's way to the values that the trainer computed."""

    def __init__(self, schema: Schema) -> None:
        self.keys = CounterKeys(schema)
        self.tables = counter_tables(schema)
        self._values = CounterValues(schema)
        self._half_lives_ms: Sums = 1000.0 * np.array(half_lives_of(schema.counters))

    def keys_of(self, features: FeatureBatch) -> BatchKeys:
        """The keys whose rows `fill` takes, in its order; numbers are places in `tables`."""
        return self.keys(features)

    def fill(self, features: FeatureBatch, rows: Array, at_ms: Array) -> FeatureBatch:
        """The features with their counters; rows (N, D) of the keys, at_ms (R,) the requests' event times."""
        num_requests, index = len(at_ms), features.request_index
        split = self.keys.num_of_request * num_requests
        each_ms = np.concatenate([
            np.tile(at_ms, self.keys.num_of_request),
            np.tile(at_ms[index], (len(rows) - split) // max(1, len(index))),
        ])  # fmt: skip
        sums = self._decayed(rows, each_ms)
        cell = sums.shape[1:]
        request, candidate = self._values(
            sums[:split].reshape(-1, num_requests, *cell), sums[split:].reshape(-1, len(index), *cell), index
        )
        return with_values(features, request, candidate)

    def _decayed(self, rows: Array, at_ms: Array) -> Sums:
        lives = len(self._half_lives_ms)
        then_ms = (rows[:, 0].astype(np.int64) << _LOW_BITS) + rows[:, 1].astype(np.int64)
        sums = rows[:, _TIME_PLACES : _TIME_PLACES + 2 * lives].astype(np.float64).reshape(-1, lives, 2)
        # A request from before the version's newest outcome cannot be told what came after it: it sees all.
        decayed: Sums = sums * decay(np.maximum(at_ms - then_ms, 0), self._half_lives_ms)
        return decayed

"""Counters at serving: keys looked up with the ids of a batch, their rows decayed to the requests' event times.

Their keys are looked up together with the ids of the batch, so that both are of one version.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from streams.contract.columns import Array
from streams.contract.features import FeatureBatch
from streams.contract.schema import Schema
from streams.counters.rows import RowCounters


class ServedCounters:
    """The counters of one generation."""

    def __init__(self, schema: Schema, numbers: dict[str, int]) -> None:
        """`numbers`: table -> its number in keys and maps."""
        self._rows = RowCounters(schema)
        self._tables = np.array([numbers[table] for table in self._rows.tables], dtype=np.int16)

    def keys_of(self, batch: FeatureBatch) -> tuple[Array, Array]:
        """(tables (K,), ids (K,)) of all that the batch's counters need."""
        keys = self._rows.keys_of(batch)
        return self._tables[keys.numbers], keys.ids

    def fill(self, batch: FeatureBatch, values: torch.Tensor, slots: Array) -> FeatureBatch:
        """The batch with its counters from rows `slots` (K,) of `values` (S, D); now where a request names no time."""
        unsaid: Array = np.zeros(len(batch.request.dense), dtype=np.int64)
        at_ms = unsaid if batch.event_time_ms is None else batch.event_time_ms
        at_ms = np.where(at_ms == 0, time.time_ns() // 1_000_000, at_ms)
        rows: Array = values.numpy()[slots]
        return self._rows.fill(batch, rows, at_ms)

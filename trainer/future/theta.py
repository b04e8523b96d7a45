"""A model as it stood, and its forward pass on batches of today.

The tables learn inside their own backward pass, so gradients of their rows cannot be read from them,
and other values than the present ones cannot be looked up in them. Here the rows that batches touch are
gathered into one tensor instead; the same rows serve all batches, so their gradients lie in one space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from streams.contract.columns import Array
from trainer.batch import RowBatch
from trainer.learner import Learner
from trainer.model.tables import DEFAULT_ROW, Bags


@dataclass(frozen=True, slots=True)
class Theta:
    """A model as it stood: rows by table up to the last one then in use, network parameters by name."""

    rows: dict[str, Array]
    network: dict[str, Tensor]


def remember(learner: Learner) -> Theta:
    """A copy of the learner's rows in use and of its network."""
    tops = learner.vocabulary.high_water().tolist()
    rows = {n: learner.tables.read_rows(n, np.arange(top)) for n, top in zip(learner.tables.names, tops, strict=True)}
    return Theta(rows, {name: value.detach().clone() for name, value in learner.network.named_parameters()})


class GatheredRows:
    """The U distinct rows that batches touch, by slot: slots (U,), tables (U,) by number, both rising."""

    def __init__(self, learner: Learner, batches: Sequence[RowBatch]) -> None:
        self._learner = learner
        self._starts = learner.vocabulary.offsets
        numbers = {name: number for number, name in enumerate(learner.tables.names)}
        self._request_tables = [numbers[key.table] for key in learner.schema.sparse(of_request=True)]
        self._candidate_tables = [numbers[key.table] for key in learner.schema.sparse(of_request=False)]
        self.slots: Array = np.unique(np.concatenate([batch.assignment.slots for batch in batches]))
        self.tables: Array = np.searchsorted(self._starts, self.slots, side="right") - 1
        self._device = batches[0].request_index.device

    def range_of(self, table: int) -> tuple[int, int]:
        """Where the rows of a table begin and end among the U."""
        begin, end = np.searchsorted(self.tables, [table, table + 1]).tolist()
        return begin, end

    def values(self, theta: Theta | None, known: Array | None = None) -> Tensor:
        """(U, D) as `theta` has them, None: as they are. What it lacks, or is not `known` (U,), is a default row."""
        parts = []
        for table, name in enumerate(self._learner.tables.names):
            begin, end = self.range_of(table)
            rows = self.slots[begin:end] - self._starts[table]
            if known is not None:
                rows = np.where(known[begin:end], rows, DEFAULT_ROW)
            parts.append(_values(self._learner, theta, name, rows))
        return torch.tensor(np.concatenate(parts), device=self._device)

    def inputs(self, batch: RowBatch, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What the network takes, over the rows' values (U, D): dense and embeddings of both sides, request_index."""
        of_request = self._pool(batch.request, self._request_tables, values)
        of_candidate = self._pool(batch.candidate, self._candidate_tables, values)
        return batch.request_dense, of_request, batch.candidate_dense, of_candidate, batch.request_index

    def _pool(self, bags: Bags, tables: list[int], values: Tensor) -> Tensor:
        """Means of the bags' rows (N, F, D), an empty bag 0, as the tables have them."""
        slots = bags.rows + np.repeat(self._starts[tables], bags.lengths.sum(axis=1, dtype=np.int64))
        places = torch.from_numpy(np.searchsorted(self.slots, slots)).to(self._device)
        lengths = bags.lengths.ravel().astype(np.int64)
        offsets = torch.from_numpy(np.cumsum(lengths) - lengths).to(self._device)
        pooled: Tensor = embedding_bag(places, values, offsets, mode="mean")
        return pooled.view(*bags.lengths.shape, -1).transpose(0, 1)


def _values(learner: Learner, theta: Theta | None, table: str, rows: Array) -> Array:
    if theta is None:
        return learner.tables.read_rows(table, rows)
    then = theta.rows[table]
    values: Array = then[np.where(rows < len(then), rows, DEFAULT_ROW)]
    return values

"""Gradients of mini-batches at a remembered theta, without learning anything.

The tables learn inside their own backward pass, so gradients of their rows cannot be read from
them. Here the rows that the mini-batches touch are gathered into one leaf tensor instead, with the
network as it stood; the same rows serve all mini-batches, so their gradients lie in one space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits, embedding_bag

from streams.contract.columns import Array
from trainer.batch import RowBatch, labels_of
from trainer.future.gram import Gram, gram_of
from trainer.learner import Learner
from trainer.model.tables import Bags
from trainer.prepare import Learnable

Halves = tuple[Learnable, Learnable]


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


def gram_at(learner: Learner, theta: Theta | None, rounds: Sequence[Halves]) -> Gram:
    """The Gram matrix of b + 1 rounds, newest first and the target last, each with two half-batches.

    The learner's vocabulary finds the rows; `theta` has their values, or None for the present ones. An
    id whose row `theta` does not have yet takes the default row.
    """
    found = [learner.find(half) for halves in rounds for half in halves]
    rows = _Gathered(learner, theta, found)
    network = theta.network if theta else dict(learner.network.named_parameters())
    network = {name: value.detach().requires_grad_() for name, value in network.items()}
    flat = []
    for batch, half in zip(found, (half for halves in rounds for half in halves), strict=True):
        logits = functional_call(learner.network, network, rows.inputs(batch))
        label, weight = labels_of(half.examples, logits.device)
        loss = binary_cross_entropy_with_logits(logits, label, weight, reduction="sum") / len(half.examples)
        gradients = torch.autograd.grad(loss, [rows.leaf, *network.values()])
        flat.append(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    return gram_of(torch.stack(flat).reshape(len(rounds), 2, -1).cpu().numpy())


class _Gathered:
    """The rows of several batches as one leaf (U, D), and each batch's network inputs over them."""

    def __init__(self, learner: Learner, theta: Theta | None, batches: Sequence[RowBatch]) -> None:
        self._starts = learner.vocabulary.offsets
        names = list(learner.tables.names)
        numbers = {name: number for number, name in enumerate(names)}
        self._request_tables = [numbers[key.table] for key in learner.schema.sparse(of_request=True)]
        self._candidate_tables = [numbers[key.table] for key in learner.schema.sparse(of_request=False)]
        used = [self._slots(batch.request, self._request_tables) for batch in batches]
        used += [self._slots(batch.candidate, self._candidate_tables) for batch in batches]
        self._used = np.unique(np.concatenate(used))
        tables = np.searchsorted(self._starts, self._used, side="right") - 1
        values = [_values(learner, theta, names[table], self._used[tables == table] - self._starts[table])
                  for table in np.unique(tables).tolist()]  # fmt: skip
        self.leaf = torch.tensor(np.concatenate(values), device=batches[0].request_index.device).requires_grad_()

    def inputs(self, batch: RowBatch) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What the network takes: dense and embeddings of both sides, request_index."""
        of_request = self._pool(batch.request, self._request_tables)
        of_candidate = self._pool(batch.candidate, self._candidate_tables)
        return batch.request_dense, of_request, batch.candidate_dense, of_candidate, batch.request_index

    def _pool(self, bags: Bags, tables: list[int]) -> Tensor:
        """Means of the bags' rows (N, F, D), an empty bag 0, as the tables have them."""
        device = self.leaf.device
        places = torch.from_numpy(np.searchsorted(self._used, self._slots(bags, tables))).to(device)
        lengths = bags.lengths.ravel().astype(np.int64)
        offsets = torch.from_numpy(np.cumsum(lengths) - lengths).to(device)
        pooled: Tensor = embedding_bag(places, self.leaf, offsets, mode="mean")
        return pooled.view(*bags.lengths.shape, -1).transpose(0, 1)

    def _slots(self, bags: Bags, tables: list[int]) -> Array:
        slots: Array = bags.rows + np.repeat(self._starts[tables], bags.lengths.sum(axis=1, dtype=np.int64))
        return slots


def _values(learner: Learner, theta: Theta | None, table: str, rows: Array) -> Array:
    if theta is None:
        return learner.tables.read_rows(table, rows)
    then = theta.rows[table]
    values: Array = then[np.where(rows < len(then), rows, 0)]
    return values

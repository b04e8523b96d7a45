"""The bare fused step: lookup, network, backward with TorchRec's fused update, on batches already in memory.

No log, no decoding, no vocabulary, no scores: the least that learning with the same model can cost.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from streams.contract.examples import ExampleBatch
from streams.contract.features import FeatureTransform
from streams.contract.schema import Schema
from trainer.batch import RowBatch, RowLookup, labels_of
from trainer.dense_optimizer import build_optimizer
from trainer.model.network import build_network
from trainer.model.tables import LocalTables
from trainer.prepare import transform
from trainer.recipes import RecipeConfig
from trainer.vocabulary import Vocabulary

_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class StepBatch:
    """Rows and labels of E examples: all that a step needs."""

    rows: RowBatch
    label: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.label)


class BareStep:
    """The recipe's model without anything around it."""

    def __init__(self, schema: Schema, recipe: RecipeConfig) -> None:
        self._recipe = recipe
        self._transform = FeatureTransform(schema)
        self._tables = LocalTables(schema, recipe.tables)
        self._network = build_network(schema, recipe.network)
        self._optimizer = build_optimizer(self._network, recipe.optimizer)
        self._vocabulary = Vocabulary(
            {name: self._tables.capacity(name) for name in self._tables.names}, recipe.vocabulary
        )
        self._lookup = RowLookup(schema, self._vocabulary, _CPU)

    def prepare(self, batch: ExampleBatch) -> StepBatch:
        """Gives the batch's ids their rows, ahead of the clock."""
        rows = self._lookup(transform(batch, self._transform), int(batch.event_time_ms.max()))
        admitted = rows.assignment.admitted
        if len(admitted):
            places = admitted.slots - self._vocabulary.offsets[admitted.tables]
            self._tables.begin_rows(admitted.tables, admitted.ids, places)
        return StepBatch(rows, *labels_of(batch, _CPU))

    def learn(self, batch: StepBatch) -> None:
        """One step."""
        rows = batch.rows
        of_request, of_candidate = self._tables.forward(rows.request, rows.candidate)
        logits = self._network(rows.request_dense, of_request, rows.candidate_dense, of_candidate, rows.request_index)
        loss = binary_cross_entropy_with_logits(logits, batch.label, batch.weight, reduction="sum")
        self._optimizer.zero_grad()
        (loss / self._recipe.batch_size).backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

    def examples_per_second(self, batches: Sequence[StepBatch]) -> float:
        """Learns the batches, which were prepared here, on the clock."""
        began = time.perf_counter()
        for batch in batches:
            self.learn(batch)
        return sum(map(len, batches)) / (time.perf_counter() - began)

"""The bare fused step: lookup, network, backward with TorchRec's fused update, on batches already in memory.

No log, no decoding, no vocabulary, no scores: the least that learning with the same model can cost.
Either as the trainer takes the step, or with TorchRec's own collection, a table a feature.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from streams.contract.examples import ExampleBatch
from streams.contract.schema import Schema
from trainer.batch import RowBatch, RowLookup, labels_of
from trainer.dense_optimizer import build_optimizer
from trainer.model.network import build_network
from trainer.model.tables import LocalTables, common_dim
from trainer.prepare import Preparer
from trainer.recipes import RecipeConfig
from trainer.torchrec_import import EmbeddingBagConfig, FusedEmbeddingBagCollection, KeyedJaggedTensor, PoolingType
from trainer.vocabulary import Vocabulary

_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class StepBatch:
    """Rows and labels of E examples: all that a step needs."""

    rows: RowBatch
    label: Tensor
    weight: Tensor
    jagged: KeyedJaggedTensor

    def __len__(self) -> int:
        return len(self.label)


class BareStep:
    """The recipe's model without anything around it."""

    def __init__(self, schema: Schema, recipe: RecipeConfig) -> None:
        self._recipe = recipe
        self._prepare = Preparer(schema)
        self._tables = LocalTables(schema, recipe.tables)
        self._network = build_network(schema, recipe.network)
        self._optimizer = build_optimizer(self._network, recipe.optimizer)
        self._vocabulary = Vocabulary(
            {name: self._tables.capacity(name) for name in self._tables.names}, recipe.vocabulary
        )
        self._lookup = RowLookup(self._vocabulary, _CPU)
        self._keys = [key.name for key in (*schema.sparse(of_request=True), *schema.sparse(of_request=False))]

    def prepare(self, batch: ExampleBatch) -> StepBatch:
        """Gives the batch's ids their rows, ahead of the clock."""
        learnable = self._prepare(batch)
        rows = self._lookup(learnable.features, learnable.seen, int(batch.event_time_ms.max()))
        admitted = rows.assignment.admitted
        if len(admitted):
            places = admitted.slots - self._vocabulary.offsets[admitted.tables]
            self._tables.begin_rows(admitted.tables, admitted.ids, places)
        values = torch.from_numpy(np.concatenate([rows.request.rows, rows.candidate.rows]))
        jagged = KeyedJaggedTensor(self._keys, values, lengths=torch.ones(len(values), dtype=torch.int32))
        return StepBatch(rows, *labels_of(batch, _CPU), jagged)

    def embed(self, batch: StepBatch) -> tuple[Tensor, Tensor]:
        """Embeddings (R, F_r, D) and (E, F_c, D)."""
        return self._tables.forward(batch.rows.request, batch.rows.candidate)

    def learn(self, batch: StepBatch) -> None:
        """One step."""
        rows = batch.rows
        of_request, of_candidate = self.embed(batch)
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


class TorchRecStep(BareStep):
    """The same step with TorchRec's collection in the place of the trainer's tables.

    It sums bags, as every bag of the batches holds one row: its means would take longer.
    """

    def __init__(self, schema: Schema, recipe: RecipeConfig) -> None:
        super().__init__(schema, recipe)
        self._num_request_keys = len(schema.sparse(of_request=True))
        keys = [*schema.sparse(of_request=True), *schema.sparse(of_request=False)]
        assert len(schema.tables) == len(keys), "one table a feature"
        assert recipe.tables.optimizer == "adagrad", "the optimizer given to the collection"
        configs = [
            EmbeddingBagConfig(name=key.table, num_embeddings=self._tables.capacity(key.table),
                               embedding_dim=common_dim(schema), feature_names=[key.name], pooling=PoolingType.SUM)
            for key in keys
        ]  # fmt: skip
        options = {"lr": recipe.tables.learning_rate, "eps": recipe.tables.epsilon}
        self._collection = FusedEmbeddingBagCollection(configs, torch.optim.Adagrad, options)

    def embed(self, batch: StepBatch) -> tuple[Tensor, Tensor]:
        embeddings = self._collection(batch.jagged).values().view(len(batch), len(self._keys), -1)
        return embeddings[:, : self._num_request_keys], embeddings[:, self._num_request_keys :]

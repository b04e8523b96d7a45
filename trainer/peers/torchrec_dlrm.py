"""TorchRec's own DLRM over its fused collection of embedding bags with row-wise Adagrad.

Ids are hashed into the tables by remainder, a table for each of the schema; bags are pooled to their means.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from streams.contract.columns import Array
from streams.contract.schema import Schema
from trainer.dense_optimizer import DenseOptimizerConfig, build_optimizer
from trainer.model.tables import common_dim
from trainer.peers.config import PeerConfig
from trainer.peers.flat import Flat, num_numbers
from trainer.peers.logits import logit_of
from trainer.peers.number_forms import NumberForms
from trainer.peers.peer import BatchPeer
from trainer.torchrec_import import (
    EmbeddingBagConfig,
    FusedEmbeddingBagCollection,
    KeyedJaggedTensor,
    PoolingType,
    RowWiseAdagrad,
    dlrm_class,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchRecConfig(PeerConfig):
    """Sizes and rates; the bottom MLP ends in the tables' dimension, the top in the logit."""

    rows: int = 100_000
    """Of each table."""
    table_rate: float = 0.05
    optimizer: DenseOptimizerConfig = field(default_factory=lambda: DenseOptimizerConfig(learning_rate=0.01))
    bottom: tuple[int, ...] = (512, 256)
    top: tuple[int, ...] = (512, 256)
    standardise: bool = True
    """Whether numbers come standardised by what was seen so far, or as the schema's transform leaves them."""
    prior: float = 0.1
    """The probability that the untrained network predicts, about."""


class TorchRecDlrm(BatchPeer):
    """One model; the loss of a batch is the mean over its examples."""

    def __init__(self, schema: Schema, config: TorchRecConfig) -> None:
        """Raises InputError where the schema's tables differ in dimension."""
        keys = [*schema.sparse(of_request=True), *schema.sparse(of_request=False)]
        self._keys = [key.name for key in keys]
        self._rows = config.rows
        width = num_numbers(schema)
        self._has_numbers = width > 0
        self._forms = NumberForms(width, "values") if config.standardise else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self._model = _model(schema, config, max(width, 1))
        dense = nn.ModuleList([self._model.dense_arch, self._model.over_arch])
        self._optimizer = build_optimizer(dense, config.optimizer)
        self._logits = torch.zeros(0)

    def predict(self, flat: Flat) -> Array:
        flat = flat if self._forms is None else self._forms(flat)
        jagged = KeyedJaggedTensor(
            self._keys, torch.from_numpy(flat.ids % self._rows), lengths=torch.from_numpy(flat.lengths.ravel())
        )
        # Its bottom MLP cannot be left out, so without numbers it reads a constant.
        dense = flat.dense if self._has_numbers else np.ones((len(flat), 1), dtype=np.float32)
        self._logits = self._model(torch.from_numpy(dense), jagged).squeeze(1)
        predicted: Array = self._logits.detach().numpy()
        return predicted.copy()

    def learn(self, label: Array, weight: Array) -> None:
        loss = binary_cross_entropy_with_logits(self._logits, torch.tensor(label), torch.tensor(weight))
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()


def _model(schema: Schema, config: TorchRecConfig, width: int) -> Any:
    keys = [*schema.sparse(of_request=True), *schema.sparse(of_request=False)]
    tables = [
        EmbeddingBagConfig(
            name=table, num_embeddings=config.rows, embedding_dim=dim, pooling=PoolingType.MEAN,
            feature_names=[key.name for key in keys if key.table == table],
        )
        for table, dim in schema.tables.items()
    ]  # fmt: skip
    bags = FusedEmbeddingBagCollection(tables, RowWiseAdagrad, {"lr": config.table_rate})
    model = dlrm_class()(bags, width, [*config.bottom, common_dim(schema)], [*config.top, 1])
    last: Tensor = model.over_arch.model[-1].bias
    nn.init.constant_(last, logit_of(config.prior))
    return model

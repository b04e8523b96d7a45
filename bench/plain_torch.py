"""The plain peer: a DLRM of `torch.nn.EmbeddingBag` and Adagrad, its ids hashed by remainder.

26 tables of dimension 16 in one merged table (faster than 26), 13 dense values; bottom 512-256-16,
pairwise dots, top 512-256-1. One progressive pass: each batch is predicted, then learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from streams.contract.examples import ExampleBatch
from streams.simulator.criteo_shaped import AD_CATEGORIES, AD_NUMBERS, REQUEST_CATEGORIES, REQUEST_NUMBERS

DIM = 16
NUM_DENSE = len(REQUEST_NUMBERS) + len(AD_NUMBERS)
NUM_TABLES = len(REQUEST_CATEGORIES) + len(AD_CATEGORIES)
_ROWS_PER_TABLE = 1 << 17


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainConfig:
    """Adagrad's rates for the tables and the network; the widths are those of the published comparisons."""

    batch_size: int = 256
    table_rate: float = 0.04
    dense_rate: float = 0.002
    bottom: tuple[int, ...] = (512, 256, DIM)
    top: tuple[int, ...] = (512, 256, 1)
    seed: int = 0


class PlainLearner:
    """One model, predict then learn."""

    def __init__(self, config: PlainConfig) -> None:
        # Said outright: Adagrad's sparse step warns otherwise.
        torch.sparse.check_sparse_tensor_invariants.disable()  # type: ignore[no-untyped-call]
        torch.manual_seed(config.seed)
        self.config = config
        self.table = nn.EmbeddingBag(NUM_TABLES * _ROWS_PER_TABLE, DIM, mode="sum", sparse=True)
        nn.init.uniform_(self.table.weight, -0.1 / DIM**0.5, 0.1 / DIM**0.5)
        self.bottom = _perceptron(NUM_DENSE, config.bottom, relu_last=True)
        self.top = _perceptron(DIM + NUM_TABLES * (NUM_TABLES + 1) // 2, config.top, relu_last=False)
        first, second = torch.tril_indices(NUM_TABLES + 1, NUM_TABLES + 1, offset=-1)
        self._pairs = first * (NUM_TABLES + 1) + second
        dense = [*self.bottom.parameters(), *self.top.parameters()]
        self._optimizers = (
            torch.optim.Adagrad(self.table.parameters(), lr=config.table_rate),
            torch.optim.Adagrad(dense, lr=config.dense_rate, fused=True),
        )

    def learn(self, rows: Tensor, dense: Tensor, label: Tensor) -> Tensor:
        """Logits (E,) before the step, from rows (E, 26) int64, dense (E, 13), label (E,)."""
        embedded = self.table(rows.view(-1, 1)).view(len(rows), NUM_TABLES, DIM)
        b = self.bottom(dense)
        vectors = torch.cat([b.unsqueeze(1), embedded], 1)
        dots = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1).index_select(1, self._pairs)
        logits: Tensor = self.top(torch.cat([b, dots], 1)).squeeze(1)
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        binary_cross_entropy_with_logits(logits, label).backward()  # type: ignore[no-untyped-call]
        for optimizer in self._optimizers:
            optimizer.step()
        return logits.detach()


def plain_pass(batches: Sequence[ExampleBatch], learner: PlainLearner) -> npt.NDArray[np.float32]:
    """Logits (N,) of all examples, each made before it was learnt; columns become tensors on the way."""
    size = learner.config.batch_size
    logits = [
        learner.learn(*(tensor[at : at + size] for tensor in tensors)).numpy()
        for tensors in map(to_tensors, batches)
        for at in range(0, len(tensors[0]), size)
    ]
    return np.concatenate(logits)


def to_tensors(batch: ExampleBatch) -> tuple[Tensor, Tensor, Tensor]:
    """rows (E, 26) int64 in the merged table, dense (E, 13) float32 as log(1 + x), label (E,)."""
    assert batch.num_requests == len(batch), "one candidate a request"
    categories = [np.asarray(batch.request[name]) for name in REQUEST_CATEGORIES]
    categories += [np.asarray(batch.candidate[name]) for name in AD_CATEGORIES]
    numbers = [np.asarray(batch.request[name]) for name in REQUEST_NUMBERS]
    numbers += [np.asarray(batch.candidate[name]) for name in AD_NUMBERS]
    rows = np.stack(categories, 1) % _ROWS_PER_TABLE + np.arange(NUM_TABLES) * _ROWS_PER_TABLE
    dense = np.log1p(np.stack(numbers, 1)).astype(np.float32)
    return torch.from_numpy(rows), torch.from_numpy(dense), torch.tensor(batch.label)


def _perceptron(width: int, layers: Sequence[int], *, relu_last: bool) -> nn.Sequential:
    made: list[nn.Module] = []
    for number, out in enumerate(layers):
        made.append(nn.Linear(width, out))
        if relu_last or number < len(layers) - 1:
            made.append(nn.ReLU())
        width = out
    return nn.Sequential(*made)

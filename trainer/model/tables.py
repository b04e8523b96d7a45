"""Embedding tables whose optimizer runs inside the backward pass, and the one interface to them.

                 rows of table t:      0 = its default row, 1 .. capacity-1 = admitted ids
    request   rows, lengths (F_r, R) ┐                             ┌ (R, F_r, D)
                                     ├─ one lookup over all bags ──┤
    candidate rows, lengths (F_c, E) ┘                             └ (E, F_c, D)

All tables have dimension D and lie end to end in ONE TorchRec table, so that a batch is one lookup
of R * F_r + E * F_c bags however many rows each side has. A table that both sides use (article and
history of articles) then gets one exact update a step, from the sum of its gradients; two lookups
would apply the optimizer twice. A request's bags are looked up once and not once a candidate: they
are RecD's inverse keyed jagged tensor (Zhao et al. 2023), whose inverse is the batch's request_index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from streams.contract.columns import Array
from streams.contract.errors import FormatError, InputError
from streams.contract.schema import Schema
from streams.contract.values import Floats, Ids
from trainer.model.frequency import RowCounts, counting_options
from trainer.model.rows import initial_rows
from trainer.model.starting_rows import load_starting_rows
from trainer.torchrec_import import EmbeddingBagConfig, FusedEmbeddingBagCollection, PoolingType, RowWiseAdagrad

DEFAULT_ROW = 0
_OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adagrad": torch.optim.Adagrad,
    "rowwise_adagrad": RowWiseAdagrad,
    "cf_sgd": RowWiseAdagrad,
    "sgd": torch.optim.SGD,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TablesConfig:
    """Size and optimizer of the tables. Defaults suit small batches in one pass."""

    capacity: int = 100_000
    """Rows of each table, the default row included."""
    capacity_of: Mapping[str, int] | None = None
    """Table -> rows, where it differs from `capacity`."""
    optimizer: Literal["adagrad", "rowwise_adagrad", "cf_sgd", "sgd"] = "adagrad"
    learning_rate: float = 0.04
    epsilon: float = 1e-8
    initial_accumulator: float = 0.0
    """Where Adagrad's sum of squares starts, for a row that is new too."""
    initial_scale: float = 0.1
    """A new row is uniform in ±initial_scale / sqrt(D)."""
    starting_rows: str | None = None
    """A file with the first values of rows learnt elsewhere (trainer/model/starting_rows.py)."""
    seed: int = 0
    half_life_steps: int | None = None
    """Of `cf_sgd`: after so many steps without its row a count has halved; None: counts never fade."""


@dataclass(frozen=True, slots=True)
class Bags:
    """Rows to pool: rows (lengths.sum(),) int64, key by key, then row by row; lengths (F, N) int32."""

    rows: Array
    lengths: Array


class Tables(Protocol):
    """What trainer and publisher know of the tables; a sharded twin implements the same."""

    @property
    def names(self) -> Sequence[str]:
        """Tables in the order of Generation.tables."""

    def forward(self, request: Bags, candidate: Bags) -> tuple[Tensor, Tensor]:
        """Means of the bags' rows, (R, F_r, D) and (E, F_c, D), an empty bag 0. Backward learns, once a call."""

    def set_learning_rate(self, learning_rate: float) -> None:
        """The rate of the backward passes from here on."""

    def capacity(self, table: str) -> int:
        """Rows that the table has, the default row included."""

    def initial_rows(self, table: str, ids: Ids) -> Floats:
        """The first values (N, D) of rows for `ids` (N,) int64: the same on every machine and at every time."""

    def begin_rows(self, tables: Array, ids: Ids, rows: Array) -> None:
        """Gives distinct `rows` (N,) of table numbers (N,) the first values for `ids` (N,); optimizers forget."""

    def read_rows(self, table: str, rows: Array) -> Floats:
        """A copy (N, D) of `rows` (N,)."""

    def write_rows(self, table: str, rows: Array, values: Floats, *, reset_optimizer: bool = True) -> None:
        """Sets distinct `rows` (N,) to `values` (N, D); by default their optimizer forgets what stood there."""

    def state(self) -> dict[str, Array]:
        """Weights `TABLE/weight` (rows, D) and what the optimizer keeps of each row (`TABLE/accumulator`, or
        `TABLE/count` and `TABLE/age`): views, which the next backward may change."""

    def load_state(self, state: Mapping[str, Array]) -> None:
        """The inverse of `state`. Raises FormatError for a tensor that is missing or has another shape."""


class LocalTables:
    """All tables whole in this process."""

    def __init__(self, schema: Schema, config: TablesConfig, *, device: str = "cpu") -> None:
        """Tables for `schema`, all rows but the default rows zero. Raises InputError for an impossible size."""
        self._config = config
        self._dim = common_dim(schema)
        self._numbers = {name: number for number, name in enumerate(schema.tables)}
        path = config.starting_rows
        self._starting = None if path is None else load_starting_rows(Path(path), self._numbers, self._dim)
        sizes = [_capacity(config, name) for name in self._numbers]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._request_starts = self._key_starts(schema, of_request=True)
        self._candidate_starts = self._key_starts(schema, of_request=False)
        self._bags = _collection(int(self._starts[-1]), self._dim, config, torch.device(device))
        # The collection's own forward makes the same call after copying ids and result for its KeyedJaggedTensor.
        self._lookup = self._bags._emb_modules[0]
        self._weight, self._accumulator = _tensors(self._bags, config)
        self._counts = RowCounts(self._lookup._emb_module) if config.optimizer == "cf_sgd" else None
        self._reset()

    @property
    def names(self) -> Sequence[str]:
        return list(self._numbers)

    def forward(self, request: Bags, candidate: Bags) -> tuple[Tensor, Tensor]:
        rows = np.concatenate([_shifted(request, self._request_starts), _shifted(candidate, self._candidate_starts)])
        lengths = np.concatenate([request.lengths.ravel(), candidate.lengths.ravel()])
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        device = self._weight.device
        if self._counts is not None:
            self._counts.begin_step()
        pooled: Tensor = self._lookup(torch.from_numpy(rows).to(device), torch.from_numpy(offsets).to(device), None)
        # FBGEMM's own means take four times as long as its sums, and most batches have no bag of several rows.
        if lengths.max(initial=0) > 1:
            pooled = pooled / torch.from_numpy(np.maximum(lengths, 1)).to(device).unsqueeze(1)
        of_request, of_candidate = torch.split(pooled, [request.lengths.size, candidate.lengths.size])
        return (
            of_request.view(*request.lengths.shape, self._dim).transpose(0, 1),
            of_candidate.view(*candidate.lengths.shape, self._dim).transpose(0, 1),
        )

    def set_learning_rate(self, learning_rate: float) -> None:
        optimizer = self._bags.fused_optimizer()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        optimizer.step()

    def capacity(self, table: str) -> int:
        number = self._numbers[table]
        return int(self._starts[number + 1] - self._starts[number])

    def initial_rows(self, table: str, ids: Ids) -> Floats:
        return self._first_values(np.full(len(ids), self._numbers[table], dtype=np.int16), ids)

    def begin_rows(self, tables: Array, ids: Ids, rows: Array) -> None:
        values = self._first_values(tables, ids)
        places = torch.from_numpy(self._starts[tables] + rows).to(self._weight.device)
        self._weight.index_copy_(0, places, torch.from_numpy(values).to(self._weight.device))
        self._forget(places)

    def read_rows(self, table: str, rows: Array) -> Floats:
        values: Floats = self._weight[self._places(table, rows)].cpu().numpy()
        return values

    def write_rows(self, table: str, rows: Array, values: Floats, *, reset_optimizer: bool = True) -> None:
        places = self._places(table, rows)
        self._weight[places] = torch.tensor(values, dtype=torch.float32, device=self._weight.device)
        if reset_optimizer:
            self._forget(places)

    def state(self) -> dict[str, Array]:
        return {name: tensor.cpu().numpy() for name, tensor in self._tensors_by_name().items()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        tensors = self._tensors_by_name()
        for name, tensor in tensors.items():
            shape = state[name].shape if name in state else None
            if shape != tuple(tensor.shape):
                raise FormatError(f"{name} has not the shape {tuple(tensor.shape)} of this model",
                                  field="tables", value=shape,
                                  remedy="resume with the schema, capacity and optimizer it was made with")  # fmt: skip
        for name, tensor in tensors.items():
            tensor.copy_(torch.tensor(state[name]))
        if self._counts is not None:
            count, age = (torch.cat([tensors[f"{name}/{part}"] for name in self._numbers]) for part in ("count", "age"))
            self._counts.load(count, age)

    def _first_values(self, tables: Array, ids: Ids) -> Floats:
        """The first values (N, D) of ids (N,) in tables by number (N,)."""
        values = initial_rows(tables, ids, self._dim, self._config.seed, scale=self._config.initial_scale)
        if self._starting is not None:
            self._starting.put(tables, ids, values)
        return values

    def _tensors_by_name(self) -> dict[str, Tensor]:
        parts = {"weight": self._weight}
        if self._accumulator is not None:
            parts["accumulator"] = self._accumulator
        if self._counts is not None:
            parts["count"], parts["age"] = self._counts.state()
        return {
            f"{name}/{part}": tensor[self._starts[number] : self._starts[number + 1]]
            for name, number in self._numbers.items()
            for part, tensor in parts.items()
        }

    def _forget(self, places: Tensor) -> None:
        """What the optimizer knows of rows that begin anew."""
        if self._accumulator is not None:
            self._accumulator.index_fill_(0, places, self._config.initial_accumulator)
        if self._counts is not None:
            self._counts.forget(places)

    def _places(self, table: str, rows: Array) -> Tensor:
        assert not len(rows) or 0 <= rows.min() <= rows.max() < self.capacity(table), "row outside its table"
        return torch.from_numpy(rows.astype(np.int64) + self._starts[self._numbers[table]]).to(self._weight.device)

    def _key_starts(self, schema: Schema, *, of_request: bool) -> Array:
        numbers = [self._numbers[key.table] for key in schema.sparse(of_request=of_request)]
        starts: Array = self._starts[numbers]
        return starts

    def _reset(self) -> None:
        self._weight.zero_()
        if self._accumulator is not None:
            self._accumulator.fill_(self._config.initial_accumulator)
        for name in self._numbers:
            self.write_rows(name, np.array([DEFAULT_ROW]), self.initial_rows(name, np.zeros(1, dtype=np.int64)))


def common_dim(schema: Schema) -> int:
    """The dimension of every table. Raises InputError where they differ or there is none."""
    dims = set(schema.tables.values())
    if len(dims) != 1:
        raise InputError("all tables of a model need the same dimension, and there must be one", field="dim",
                         value=dict(schema.tables), remedy="give every categorical feature the same dim")  # fmt: skip
    return dims.pop()


def _capacity(config: TablesConfig, table: str) -> int:
    capacity = (config.capacity_of or {}).get(table, config.capacity)
    if capacity < 2:
        raise InputError("a table needs a default row and at least one more", field=f"capacity of {table}",
                         value=capacity, remedy="give it 2 or more")  # fmt: skip
    return capacity


def _collection(rows: int, dim: int, config: TablesConfig, device: torch.device) -> FusedEmbeddingBagCollection:
    table = EmbeddingBagConfig(
        name="rows", num_embeddings=rows, embedding_dim=dim, feature_names=["rows"], pooling=PoolingType.SUM
    )
    options: dict[str, Any] = {"lr": config.learning_rate}
    if config.optimizer != "sgd":
        options["eps"] = config.epsilon
    if config.optimizer == "cf_sgd":
        options |= counting_options(config.half_life_steps)
    return FusedEmbeddingBagCollection([table], _OPTIMIZERS[config.optimizer], options, device=device)


def _tensors(bags: FusedEmbeddingBagCollection, config: TablesConfig) -> tuple[Tensor, Tensor | None]:
    """(weights (rows, D), Adagrad's sums (rows, D) or row-wise (rows,), None for what has none); the live tensors."""
    weight = bags.embedding_bags["rows"].weight.detach()
    if config.optimizer == "cf_sgd":
        return weight, None
    for held in bags.fused_optimizer().state.values():
        for name, tensor in held.items():
            if name.endswith("momentum_1") and tensor.numel():
                return weight, tensor.detach()
    return weight, None


def _shifted(bags: Bags, key_starts: Array) -> Array:
    """Row numbers in the one table: each key's rows moved behind the tables before its own."""
    per_key = bags.lengths.sum(axis=1, dtype=np.int64)
    assert len(per_key) == len(key_starts), "one row of lengths a key"
    shifted: Array = bags.rows + np.repeat(key_starts, per_key)
    return shifted

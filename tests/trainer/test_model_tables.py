from __future__ import annotations

import numpy as np
import pytest
import torch

from streams.contract.errors import FormatError, InputError
from streams.contract.schema import Feature, Schema
from tests.support.small_model import random_bags, schema_of, shared_schema
from trainer.model.tables import Bags, LocalTables, TablesConfig
from trainer.torchrec_import import (
    EmbeddingBagConfig,
    FusedEmbeddingBagCollection,
    KeyedJaggedTensor,
    PoolingType,
    RowWiseAdagrad,
)


def config(optimizer: str = "adagrad", capacity: int = 20, **more: float) -> TablesConfig:
    return TablesConfig(optimizer=optimizer, capacity=capacity, learning_rate=0.1, **more)  # type: ignore[arg-type]


def filled(schema: Schema, of: TablesConfig) -> LocalTables:
    tables = LocalTables(schema, of)
    rng = np.random.default_rng(1)
    for name in tables.names:
        rows = np.arange(tables.capacity(name))
        tables.write_rows(name, rows, rng.normal(size=(len(rows), 4)).astype(np.float32))
    return tables


def pooled(weights: dict[str, torch.Tensor], tables: list[str], bags: Bags) -> torch.Tensor:
    """The oracle: bag by bag, by loops over rows of dense weights -> (N, F, D)."""
    at, columns = 0, []
    for table, lengths in zip(tables, bags.lengths, strict=True):
        cells = []
        for length in lengths:
            rows = weights[table][torch.from_numpy(bags.rows[at : at + length])]
            cells.append(rows.mean(0) if length else torch.zeros(weights[table].shape[1]))
            at += length
        columns.append(torch.stack(cells))
    return torch.stack(columns, 1)


@pytest.mark.parametrize("optimizer", ["adagrad", "rowwise_adagrad", "sgd"])
def test_step_over_a_table_shared_by_both_sides_equals_one_dense_update(optimizer: str) -> None:
    tables = filled(shared_schema(), config(optimizer))
    weights = {n: torch.tensor(tables.read_rows(n, np.arange(20)), requires_grad=True) for n in tables.names}
    sums = {n: torch.zeros(20, 4) for n in tables.names}
    rng = np.random.default_rng(2)
    for _ in range(3):
        request = random_bags(rng, keys=2, rows=5, capacity=20)
        candidate = random_bags(rng, keys=1, rows=11, capacity=20)
        of_request, of_candidate = tables.forward(request, candidate)
        expected = pooled(weights, ["user", "article"], request), pooled(weights, ["article"], candidate)
        torch.testing.assert_close(of_request, expected[0])
        torch.testing.assert_close(of_candidate, expected[1])
        down = torch.randn(5, 2, 4), torch.randn(11, 1, 4)
        torch.autograd.backward([of_request, of_candidate], list(down))
        torch.autograd.backward(list(expected), list(down))
        for name, weight in weights.items():
            dense_update(weight, sums[name], optimizer)
            torch.testing.assert_close(torch.tensor(tables.read_rows(name, np.arange(20))), weight.detach())


def dense_update(weight: torch.Tensor, sums: torch.Tensor, optimizer: str) -> None:
    gradient = weight.grad
    assert gradient is not None
    squares = gradient**2 if optimizer == "adagrad" else (gradient**2).mean(1, keepdim=True).expand(-1, 4)
    sums += squares
    scaled = gradient if optimizer == "sgd" else gradient / (sums.sqrt() + 1e-8)
    with torch.no_grad():
        weight -= 0.1 * torch.nan_to_num(scaled)
    weight.grad = None


def test_lookup_and_step_equal_torchrecs_own_collection_of_one_table_a_feature() -> None:
    schema = schema_of(request_keys=2, candidate_keys=1)
    tables = filled(schema, config("rowwise_adagrad"))
    configs = [
        EmbeddingBagConfig(name=n, num_embeddings=20, embedding_dim=4, feature_names=[n], pooling=PoolingType.MEAN)
        for n in tables.names
    ]
    theirs = FusedEmbeddingBagCollection(configs, RowWiseAdagrad, {"lr": 0.1, "eps": 1e-8})
    for name in tables.names:
        theirs.embedding_bags[name].weight.data.copy_(torch.from_numpy(tables.read_rows(name, np.arange(20))))
    rng = np.random.default_rng(4)
    request, candidate = (random_bags(rng, keys=k, rows=6, capacity=20) for k in (2, 1))
    ours = torch.cat(tables.forward(request, candidate), 1).flatten(1)
    values = torch.from_numpy(np.concatenate([request.rows, candidate.rows]))
    lengths = torch.from_numpy(np.concatenate([request.lengths.ravel(), candidate.lengths.ravel()]))
    expected = theirs(KeyedJaggedTensor(keys=list(tables.names), values=values, lengths=lengths)).values()
    torch.testing.assert_close(ours, expected)
    down = torch.randn(6, 12)
    ours.backward(down)  # type: ignore[no-untyped-call]
    expected.backward(down)
    for name in tables.names:
        own = torch.from_numpy(tables.read_rows(name, np.arange(20)))
        torch.testing.assert_close(own, theirs.embedding_bags[name].weight.detach())


def test_empty_batches_of_both_sides_give_empty_embeddings() -> None:
    tables = filled(shared_schema(), config())
    none = np.zeros(0, dtype=np.int64)
    of_request, of_candidate = tables.forward(
        Bags(none, np.zeros((2, 0), dtype=np.int32)), Bags(none, np.zeros((1, 0), dtype=np.int32))
    )
    assert [tuple(pooled.shape) for pooled in (of_request, of_candidate)] == [(0, 2, 4), (0, 1, 4)]


def test_fresh_tables_hold_the_default_row_and_zeros() -> None:
    tables = LocalTables(shared_schema(), config())
    rows = tables.read_rows("article", np.arange(20))
    assert np.array_equal(rows[:1], tables.initial_rows("article", np.zeros(1, dtype=np.int64)))
    assert rows[0].all()
    assert not rows[1:].any()


def one_step(tables: LocalTables, row: int) -> None:
    one = Bags(np.array([row]), np.array([[0], [1]], dtype=np.int32))
    nothing = Bags(np.zeros(0, dtype=np.int64), np.zeros((1, 0), dtype=np.int32))
    of_request, _ = tables.forward(one, nothing)
    of_request.sum().backward()  # type: ignore[no-untyped-call]


def test_rewritten_row_learns_like_a_new_one_and_others_keep_their_state() -> None:
    tables = filled(shared_schema(), config(initial_accumulator=0.25))
    one_step(tables, 3)
    one_step(tables, 7)
    tables.write_rows("article", np.array([3]), np.zeros((1, 4), dtype=np.float32))
    sums = tables.state()["article/accumulator"]
    assert (sums[[3, 7]] == [[0.25], [1.25]]).all()
    one_step(tables, 3)
    np.testing.assert_allclose(tables.read_rows("article", np.array([3])), -0.1 / np.sqrt(1.25), rtol=1e-6)


def test_write_that_keeps_the_optimizer_leaves_its_sums() -> None:
    tables = filled(shared_schema(), config())
    one_step(tables, 3)
    tables.write_rows("article", np.array([3]), np.ones((1, 4), dtype=np.float32), reset_optimizer=False)
    assert (tables.state()["article/accumulator"][3] == 1.0).all()


def test_learning_rate_set_later_is_the_one_used() -> None:
    tables = filled(shared_schema(), config("sgd"))
    before = tables.read_rows("article", np.array([3]))
    tables.set_learning_rate(0.5)
    one_step(tables, 3)
    np.testing.assert_allclose(tables.read_rows("article", np.array([3])), before - 0.5, rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["adagrad", "rowwise_adagrad", "cf_sgd", "sgd"])
def test_loaded_state_continues_bit_for_bit(optimizer: str) -> None:
    first = filled(shared_schema(), config(optimizer))
    one_step(first, 3)
    kept = {name: array.copy() for name, array in first.state().items()}
    second = LocalTables(shared_schema(), config(optimizer))
    second.load_state(kept)
    for tables in (first, second):
        one_step(tables, 3)
    state = second.state()
    assert set(state) == set(first.state()) == set(kept)
    assert all(np.array_equal(array, state[name]) for name, array in first.state().items())
    assert not np.array_equal(kept["article/weight"], state["article/weight"])


def test_state_shows_the_live_weights_without_a_copy() -> None:
    tables = filled(shared_schema(), config())
    view = tables.state()["article/weight"]
    tables.write_rows("article", np.array([5]), np.full((1, 4), 8.0, dtype=np.float32))
    assert (view[5] == 8.0).all()


def test_state_of_another_capacity_is_refused_and_changes_nothing() -> None:
    tables, other = filled(shared_schema(), config()), LocalTables(shared_schema(), config(capacity=30))
    before = {name: array.copy() for name, array in tables.state().items()}
    with pytest.raises(FormatError, match="user/weight has not the shape"):
        tables.load_state(other.state())
    with pytest.raises(FormatError, match="accumulator"):
        tables.load_state({name: array for name, array in before.items() if name.endswith("weight")})
    assert all(np.array_equal(array, before[name]) for name, array in tables.state().items())


def test_capacity_of_one_table_differs_where_asked() -> None:
    tables = LocalTables(shared_schema(), TablesConfig(capacity=10, capacity_of={"article": 30}))
    assert [tables.capacity(name) for name in tables.names] == [10, 30]
    assert tables.state()["article/weight"].shape == (30, 4)


def test_capacity_without_room_for_an_id_is_refused() -> None:
    with pytest.raises(InputError, match="capacity of user"):
        LocalTables(shared_schema(), TablesConfig(capacity=1))


def test_tables_of_different_dimensions_are_refused() -> None:
    features = [Feature(name=n, scope="ad", kind="categorical", dim=d) for n, d in (("a", 4), ("b", 8))]
    with pytest.raises(InputError, match="same dimension"):
        LocalTables(Schema(name="mixed", features=tuple(features)), config())

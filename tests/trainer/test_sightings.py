from __future__ import annotations

import numpy as np

from streams.contract.columns import Array
from streams.contract.features import FeatureBatch, Side
from streams.contract.schema import Feature, Schema
from trainer.sightings import Sightings, SightingsOf, sightings


def schema_of(*, tables: list[str]) -> Schema:
    """One categorical key a table name; the first is the request's."""
    features = [
        Feature(name=f"k{n}", scope="user" if n == 0 else "ad", kind="categorical", table=table, dim=4)
        for n, table in enumerate(tables)
    ]
    return Schema(name="keys", features=tuple(features))


def side(ids: Array, lengths: Array | None = None) -> Side:
    keys, rows = ids.shape
    counts = np.ones((keys, rows), dtype=np.int32) if lengths is None else lengths
    flat = np.repeat(ids.ravel(), counts.ravel()).astype(np.int64)
    return Side(np.zeros((rows, 0), dtype=np.float32), flat, counts)


def assert_same(a: Sightings, b: Sightings) -> None:
    for name in ("tables", "ids", "counts", "places"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


def test_keys_come_by_table_then_id_with_their_counts() -> None:
    tables, ids = np.array([1, 0, 1, 1], dtype=np.int16), np.array([5, 9, -2, 5])
    seen = sightings(tables, ids)
    assert list(zip(seen.tables.tolist(), seen.ids.tolist(), strict=True)) == [(0, 9), (1, -2), (1, 5)]
    assert seen.counts.tolist() == [1, 1, 2]
    assert seen.places.tolist() == [2, 0, 1, 2]


def test_no_ids_give_no_keys() -> None:
    seen = sightings(np.zeros(0, dtype=np.int16), np.zeros(0, dtype=np.int64))
    assert len(seen.ids) == len(seen.counts) == len(seen.places) == 0


def test_keys_of_single_values_equal_those_of_one_sort_over_all() -> None:
    rng = np.random.default_rng(0)
    schema = schema_of(tables=["z", "b", "a"])
    request, candidate = side(rng.integers(-3, 3, (1, 5))), side(rng.integers(-3, 3, (2, 8)))
    seen = SightingsOf(schema)(FeatureBatch(request, candidate, np.zeros(8, dtype=np.int32)))
    numbers = {name: number for number, name in enumerate(schema.tables)}
    tables = np.repeat(np.array([numbers[t] for t in ("z", "b", "a")], dtype=np.int16), [5, 8, 8])
    assert_same(seen, sightings(tables, np.concatenate([request.ids, candidate.ids])))


def test_keys_of_a_shared_table_are_told_apart_across_features() -> None:
    seen = SightingsOf(schema_of(tables=["a", "a"]))(
        FeatureBatch(side(np.array([[7, 8]])), side(np.array([[8, 8, 9]])), np.array([0, 0, 1], dtype=np.int32))
    )
    assert seen.ids.tolist() == [7, 8, 9]
    assert seen.counts.tolist() == [1, 3, 1]


def test_empty_and_full_bags_that_add_up_to_one_value_each_are_not_taken_for_single_values() -> None:
    lengths = np.array([[2, 0]], dtype=np.int32)
    request, candidate = side(np.array([[4, 6]]), lengths), side(np.array([[1, 1]]))
    seen = SightingsOf(schema_of(tables=["a", "b"]))(FeatureBatch(request, candidate, np.zeros(2, dtype=np.int32)))
    assert_same(seen, sightings(np.array([0, 0, 1, 1], dtype=np.int16), np.array([4, 4, 1, 1])))

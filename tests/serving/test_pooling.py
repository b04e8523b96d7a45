"""Pooling against means taken bag by bag."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from serving.scorer.pooling import pool, tables_of_values


@pytest.mark.parametrize(
    "lengths",
    [
        [[1, 1, 1], [1, 1, 1]],
        [[2, 0, 1], [1, 1, 3]],
        [[0, 0, 0], [0, 0, 0]],
        [[2, 0, 1], [1, 1, 1]],
    ],
    ids=["single values", "bags", "empty bags", "as many values as bags"],
)
def test_pool_is_the_mean_of_each_bag_and_zeros_where_it_is_empty(lengths: list[list[int]]) -> None:
    rng = np.random.default_rng(1)
    values = torch.from_numpy(rng.normal(size=(10, 4)).astype(np.float32))
    bags = np.array(lengths, dtype=np.int32)
    slots = rng.integers(0, 10, size=int(bags.sum())).astype(np.int32)
    pooled = pool(values, slots, bags)
    assert pooled.shape == (3, 2, 4)
    at = 0
    for key in range(2):
        for row in range(3):
            bag = slots[at : at + bags[key, row]]
            at += len(bag)
            expected = values.numpy()[bag].mean(axis=0) if len(bag) else np.zeros(4)
            np.testing.assert_allclose(pooled[row, key].numpy(), expected, atol=1e-6)


def test_side_without_keys_pools_to_nothing() -> None:
    pooled = pool(torch.zeros(2, 4), np.zeros(0, dtype=np.int32), np.zeros((0, 3), dtype=np.int32))
    assert pooled.shape == (3, 0, 4)


def test_tables_of_values_repeats_each_keys_table() -> None:
    tables = tables_of_values(np.array([7, 3], dtype=np.int16), np.array([[2, 0], [1, 1]]))
    assert tables.tolist() == [7, 7, 3, 3]

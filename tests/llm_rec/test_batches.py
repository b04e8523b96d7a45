"""Which rows go together, and what of them is prompt, main text and padding."""

from __future__ import annotations

import numpy as np
import torch

from llm_rec.batches import batch_of, rows_as_listed, rows_by_length, rows_of_like_length, rows_sorted
from llm_rec.documents import Document
from streams.contract.columns import Array

CPU = torch.device("cpu")


def test_prompt_main_text_and_padding_are_told_apart() -> None:
    documents = [Document(np.array([9, 9]), np.array([1, 2])), Document(np.array([8]), np.array([3]))]
    batch = batch_of(documents, CPU)
    assert batch.tokens.tolist() == [[9, 9, 1, 2], [8, 3, 0, 0]]
    assert batch.in_prompt.tolist() == [[True, True, False, False], [True, False, False, False]]
    assert batch.in_main.tolist() == [[False, False, True, True], [False, True, False, False]]


def test_the_last_state_is_the_one_before_the_padding() -> None:
    batch = batch_of([Document(np.array([1, 1, 1]), np.zeros(0, int)), Document(np.array([1]), np.zeros(0, int))], CPU)
    states = torch.arange(6.0).reshape(2, 3, 1)
    assert batch.last(states).tolist() == [[2.0], [3.0]]


def test_rows_by_length_hold_every_row_once_with_less_padding_than_as_listed() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, size=1000)
    batches = rows_by_length(lengths, 32, np.random.default_rng(1))
    assert sorted(np.concatenate(batches).tolist()) == list(range(1000))

    def padded(parts: list[Array]) -> int:
        return int(sum(len(rows) * lengths[rows].max() - lengths[rows].sum() for rows in parts))

    assert padded(batches) < 0.2 * padded(rows_as_listed(1000, 32))
    assert padded(rows_sorted(lengths, 32)) <= padded(batches)


def test_rows_by_length_are_drawn_from_the_generator() -> None:
    lengths = np.arange(100) % 7
    first, again, other = (rows_by_length(lengths, 8, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_rows_of_like_length_hold_every_row_once_and_neither_pad_nor_take_too_much() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, size=300)
    batches = rows_of_like_length(lengths, 500)
    assert sorted(np.concatenate(batches).tolist()) == list(range(300))
    for rows in batches:
        assert lengths[rows].max() <= 1.5 * lengths[rows].min()
        assert len(rows) * lengths[rows].max() <= 500
    assert [rows.tolist() for rows in rows_of_like_length(np.array([9, 900, 10]), 100)] == [[0, 2], [1]]
    assert rows_of_like_length(np.zeros(0, dtype=np.int64), 100) == []

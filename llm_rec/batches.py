"""Rows of tokens side by side: which rows go together, and what of them is prompt, main text and padding.

row 0   P P P M M M M
row 1   P P M M . . .      P prompt, M main text, . padding (token 0), always at the right
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llm_rec.documents import Document
from streams.contract.columns import Array

_PADDING = 0
_WINDOW_BATCHES = 16
_MOST_PADDED = 1.5


@dataclass(frozen=True, slots=True)
class Batch:
    """B rows of T tokens: tokens (B, T) int64, and for each row its length and where its main text begins (B,)."""

    tokens: Tensor
    lengths: Tensor
    main_from: Tensor

    @property
    def in_prompt(self) -> Tensor:
        """(B, T) bool."""
        return self._places() < self.main_from.unsqueeze(1)

    @property
    def in_main(self) -> Tensor:
        """(B, T) bool."""
        places = self._places()
        return (places >= self.main_from.unsqueeze(1)) & (places < self.lengths.unsqueeze(1))

    def last(self, states: Tensor) -> Tensor:
        """Of states (B, T, d), each row's last before the padding: (B, d)."""
        return states[torch.arange(len(states), device=states.device), self.lengths - 1]

    def _places(self) -> Tensor:
        return torch.arange(self.tokens.shape[1], device=self.tokens.device).unsqueeze(0)


def batch_of(documents: Sequence[Document], device: torch.device) -> Batch:
    """The documents as rows, padded at the right to the longest."""
    rows = [np.concatenate([document.prompt, document.main]) for document in documents]
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    tokens = np.full((len(rows), int(lengths.max())), _PADDING, dtype=np.int64)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = row
    main_from = np.array([len(document.prompt) for document in documents], dtype=np.int64)
    return Batch(*(torch.from_numpy(array).to(device) for array in (tokens, lengths, main_from)))


def rows_as_listed(num_rows: int, batch_size: int) -> list[Array]:
    """Row numbers of each batch, in their own order."""
    return _cut(np.arange(num_rows), batch_size)


def rows_sorted(lengths: Array, batch_size: int) -> list[Array]:
    """Row numbers of each batch, shortest rows first."""
    return _cut(np.argsort(lengths, kind="stable"), batch_size)


def rows_of_like_length(lengths: Array, most_tokens: int) -> list[Array]:
    """Row numbers of each batch, shortest rows first.

    The longest of a batch is at most half as long again as the shortest, and a batch has at most
    `most_tokens`, padding and all, or one row.
    """
    batches: list[list[int]] = []
    for row in np.argsort(lengths, kind="stable").tolist():
        rows, length = batches[-1] if batches else [], lengths[row]
        if rows and length <= _MOST_PADDED * lengths[rows[0]] and length * (len(rows) + 1) <= most_tokens:
            rows.append(row)
        else:
            batches.append([row])
    return [np.array(rows, dtype=np.int64) for rows in batches]


def rows_by_length(lengths: Array, batch_size: int, rng: np.random.Generator) -> list[Array]:
    """Row numbers of each batch, shuffled, with rows of like length together.

    Sorting within windows of 16 batches leaves little padding and still mixes the rows anew each time.
    """
    batches: list[Array] = []
    for window in _cut(rng.permutation(len(lengths)), batch_size * _WINDOW_BATCHES):
        batches += _cut(window[np.argsort(lengths[window], kind="stable")], batch_size)
    return [batches[number] for number in rng.permutation(len(batches))]


def _cut(rows: Array, size: int) -> list[Array]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]

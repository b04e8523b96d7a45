"""The way of the history beside the language model, by hand."""

from __future__ import annotations

import torch

from llm_rec.history_path import HistoryPath

GIVEN = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
WANTED = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
PADDING = -9


def test_newer_items_count_for_more() -> None:
    path = HistoryPath(GIVEN, WANTED, weight=10.0, decay=0.5)
    scores = path(torch.tensor([[-3, 0, 1, -2], [2, 0, PADDING, PADDING]]))
    assert scores.tolist() == [[5.0, 10.0, 15.0], [20.0, 10.0, 30.0]]


def test_a_history_without_items_says_nothing() -> None:
    assert HistoryPath(GIVEN, WANTED)(torch.tensor([[-1, -2]])).tolist() == [[0.0, 0.0, 0.0]]


def test_padding_changes_nothing() -> None:
    path = HistoryPath(GIVEN, WANTED, decay=0.7)
    padded = path(torch.tensor([[0, 2, PADDING, PADDING]]))
    assert torch.equal(padded, path(torch.tensor([[0, 2]])))


def test_item_that_came_later_says_nothing_and_is_newer_than_those_before_it() -> None:
    path = HistoryPath(GIVEN, WANTED, decay=0.5)
    assert path(torch.tensor([[0, 3]])).tolist() == [[0.5, 0.0, 0.5]]

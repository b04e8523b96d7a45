"""Weights from item to item: what texts add to likes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llm_rec import item_weights
from llm_rec.item_weights import closed_form, liked_together, most_liked, worded_alike, words_of

TEXTS = ("red shoe", "Red boot", "blue boot", "")
NEW = 2


def test_likes_together_are_counted() -> None:
    gram = liked_together([np.array([0, 1]), np.array([1]), np.zeros(0, dtype=np.int64)], 3)
    assert gram.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]


def test_texts_are_alike_by_the_words_that_two_of_them_have() -> None:
    alike = worded_alike(words_of(TEXTS))
    assert alike[0, 1] == pytest.approx(1 / math.sqrt(2))
    assert alike[0, 2] == 0
    assert np.diag(alike) == pytest.approx([1, 1, 1, 0])


def test_an_item_that_nobody_liked_has_weights_through_its_words_alone() -> None:
    likes = liked_together([np.array([0, 1])] * 5, len(TEXTS))
    assert (closed_form(likes, 1.0)[:, NEW] == 0).all()
    weights = closed_form(likes + worded_alike(words_of(TEXTS)), 1.0)
    assert weights[1, NEW] > 0
    assert weights[1, NEW] > weights[0, NEW]


def test_words_are_those_of_two_texts_in_rows_of_length_1() -> None:
    words = words_of(TEXTS).toarray()
    assert words.shape == (4, 2)
    assert np.linalg.norm(words, axis=1) == pytest.approx([1, 1, 1, 0])


def test_without_a_word_that_two_texts_have_no_item_is_like_another() -> None:
    words = words_of(("red shoe", "", ""))
    assert words.shape == (3, 0)
    assert (worded_alike(words[np.array([0, 2])]) == 0).all()


def test_of_too_many_items_the_most_liked_have_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    likes = [np.array([3, 1]), np.array([3, 2]), np.array([3, 1])]
    assert most_liked(likes, 5).tolist() == [0, 1, 2, 3, 4]
    monkeypatch.setattr(item_weights, "MOST_ITEMS", 2)
    assert most_liked(likes, 5).tolist() == [1, 3]

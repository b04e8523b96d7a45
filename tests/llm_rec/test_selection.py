"""The validation score by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llm_rec.selection import validation_score


def test_a_ranking_by_hand() -> None:
    """Item 0 is seen; behind it, relevant items rank 1 and 3 of 200."""
    scores = np.arange(200, 0, -1, dtype=np.float32)[None]
    score = validation_score(scores, [np.array([0])], [np.array([1, 3])])
    ideal = 1 + 1 / math.log2(3)
    assert score == pytest.approx(1 + 1 + (1 + 1 / math.log2(4)) / ideal)


def test_beyond_the_depths_nothing_counts() -> None:
    scores = np.arange(200, 0, -1, dtype=np.float32)[None]
    depths = [validation_score(scores, [np.zeros(0, int)], [np.array([rank])]) for rank in (25, 60, 150)]
    assert depths[0] > 1 > depths[1] > depths[2] == 0


def test_users_without_relevant_items_do_not_count() -> None:
    scores = np.ones((2, 5), dtype=np.float32)
    nothing = np.zeros(0, int)
    assert validation_score(scores, [nothing] * 2, [np.array([0]), nothing]) == pytest.approx(3)
    assert validation_score(scores, [nothing] * 2, [nothing] * 2) == 0

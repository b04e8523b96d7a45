"""Asking a recommender, and what it must answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from serving.recommender.recommender import Result
from serving.scorer.scorer import Refusal
from streams.contract.columns import Array
from streams.contract.recommend_wire import RecommendAnswer, RecommendRequest, pack_recommend
from tests.support.recommender_versions import PublishedRecommender

TOLERANCE = 2e-4


class Asked(Protocol):
    """A recommender in this process."""

    def score(self, requests: Sequence[dict[str, Array]]) -> list[Result]:
        """One result a request."""


def request_of(user: str, k: int = 5, **more: Any) -> RecommendRequest:
    """A request for a user's best items."""
    return RecommendRequest(unit_id=user, k=k, **more)


def answers_of(service: Asked, *requests: RecommendRequest) -> list[RecommendAnswer]:
    """The answers to requests that are asked together; none may be refused."""
    results = service.score([{"request": pack_recommend(request)} for request in requests])
    answers = [result for result in results if not isinstance(result, Refusal)]
    assert len(answers) == len(requests), results
    return answers


def answer_of(service: Asked, user: str, k: int = 5, **more: Any) -> RecommendAnswer:
    """The answer to one request."""
    return answers_of(service, request_of(user, k, **more))[0]


def expected_items(
    model: PublishedRecommender, user: str, k: int, *, history: Sequence[int] | None = None, exclude: Sequence[int] = ()
) -> list[tuple[str, float]]:
    """The best k by the language model alone, on rows looked up one by one."""
    scores = model.expected(user, history)
    likes = model.histories.get(user, np.zeros(0, dtype=np.int64)) if history is None else np.array(history, dtype=int)
    ranked = [number for number in np.argsort(-scores, kind="stable").tolist() if np.isfinite(scores[number])]
    left = [number for number in ranked if number not in likes and number not in exclude]
    return [(model.items[number].name, float(scores[number])) for number in left[:k]]


def assert_recommends(answer: RecommendAnswer, expected: Sequence[tuple[str, float]]) -> None:
    """The items are the expected ones, with their scores; two that are as good may change places."""
    assert len(answer.items) == len(expected)
    np.testing.assert_allclose([item.score for item in answer.items], [score for _, score in expected], atol=TOLERANCE,
                               rtol=TOLERANCE)  # fmt: skip
    assert {item.item_id for item in answer.items} == {name for name, _ in expected}

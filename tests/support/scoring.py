"""Asking a scorer about a small model that a test publishes by hand, and what it must answer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from serving.scorer.scorer import Answer, Refusal, Result, Scorer
from streams.contract.columns import Array, Jagged
from streams.contract.features import FeatureBatch
from streams.contract.values import ids_of
from streams.contract.wire import pack_request
from tests.support.published import PublishedModel

TOLERANCE = 1e-6


def request_of(model: PublishedModel, articles: list[str], history: list[str], user: str = "ann") -> FeatureBatch:
    """One request: its candidates are articles of rising age."""
    lengths = np.array([len(history)], dtype=np.int32)
    return model.transform(
        {"user": [user], "history": Jagged(list(history), lengths)},
        {"article": list(articles), "age": np.arange(len(articles), dtype=np.float64)},
        np.zeros(len(articles), dtype=np.int32),
        num_requests=1,
    )


def ids_of_articles(model: PublishedModel, articles: list[str]) -> list[int]:
    """The ids of the articles."""
    ids: list[int] = ids_of(model.schema.feature("article"), articles).tolist()
    return ids


def article_rows(model: PublishedModel, articles: list[str], seed: int = 0) -> dict[str, dict[int, Array]]:
    """Random rows of the articles, and of no other table."""
    rows = model.random_rows(ids_of_articles(model, articles), seed)
    return {"article": rows["article"]}


def scored(service: Scorer, model: PublishedModel, batch: FeatureBatch) -> Answer:
    """The answer to one request; it must not be refused."""
    result = service.score([pack_request(batch, model.schema.hash)])[0]
    assert isinstance(result, Answer), result
    return result


def refused(result: Result) -> str:
    """Why a request has no answer."""
    assert isinstance(result, Refusal)
    return result.message


def assert_scores(answer: Answer, model: PublishedModel, batch: FeatureBatch) -> None:
    """The answer is the plain network's on the model's present rows."""
    assert answer.info.version == model.version
    np.testing.assert_allclose(answer.probabilities, model.expected(batch), atol=TOLERANCE, rtol=0)


def assert_catches_up(
    patient: Scorer, other: Scorer, model: PublishedModel, batch: FeatureBatch, append: Callable[[], None]
) -> None:
    """Asked before the log has the version, the patient scorer answers with it; the other one does from then on."""
    with ThreadPoolExecutor(1) as asking:
        answer = asking.submit(scored, patient, model, batch)
        append()
        assert_scores(answer.result(), model, batch)
    assert other.wait_for_version(model.version, 60)
    assert_scores(scored(other, model, batch), model, batch)

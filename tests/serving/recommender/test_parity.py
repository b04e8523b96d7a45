"""What is served of a fitted CLLM4Rec is what it scores offline, by every recipe's choices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from llm_rec.cllm4rec import CLLM4Rec
from llm_rec.cllm4rec_recipes import cllm4rec_small
from llm_rec.config import Cllm4recConfig
from llm_rec.fusion import FusionConfig
from serving.recommender.recommender import Recommender
from streams.contract.columns import Array
from streams.contract.recommend_wire import RecommendAnswer
from streams.contract.recommender import Item
from streams.log.event_log import EventLog
from streams.store.row_store import RowStore
from tests.support.recommender_versions import PublishedRecommender
from tests.support.recommending import TOLERANCE, answers_of, request_of
from tests.support.two_communities import SHORT, coloured, quiet, two_communities


def nameless() -> Cllm4recConfig:
    """The small recipe's choices on the tests' own model: a bias, no user tokens, the history's way beside."""
    own = cllm4rec_small()
    schedule = replace(SHORT.schedule, finetuning_epochs=0, anonymous_share=1.0)
    return replace(
        own, backbone=SHORT.backbone, id_std=None, schedule=schedule, fusion=FusionConfig(rank=4, weights=(8.0,))
    )


def adapted() -> Cllm4recConfig:
    """A frozen language model whose adapters learn; what is served has them merged."""
    return replace(SHORT, backbone=replace(SHORT.backbone, trainable=False, lora_rank=2))


@pytest.mark.parametrize("recipe", [SHORT, nameless(), adapted()], ids=["paper", "nameless", "adapted"])
def test_served_items_and_scores_are_those_of_the_fitted_recommender(
    log: EventLog, store: RowStore, start: Callable[..., Recommender], recipe: Cllm4recConfig
) -> None:
    split = two_communities()
    fitted = CLLM4Rec(recipe, tell=quiet)
    fitted.fit(split, coloured(), seed=0)
    assert (fitted.models.path is not None) == (recipe.fusion is not None)
    items = [Item(name, text) for name, text in zip(split.items, coloured().texts, strict=True)]
    model = PublishedRecommender(log, store, items, config=recipe, learnt=fitted.models)
    model.begin()
    publish(model, fitted, split.users, split.train)
    service = start(2)
    answers = answers_of(service, *(request_of(user, len(items)) for user in split.users))
    offline = fitted.scores(np.arange(len(split.users)), list(split.train))
    for scores, likes, answer in zip(offline.astype(np.float64), split.train, answers, strict=True):
        assert_same(scores, likes, answer)


def publish(model: PublishedRecommender, fitted: CLLM4Rec, users: tuple[str, ...], likes: list[Array]) -> None:
    """A version with the fitted rows of all items and users, and all likes."""
    learnt = fitted.models
    bias = np.zeros(len(model.catalogue)) if learnt.bias is None else learnt.bias.detach().numpy()
    items = np.column_stack([learnt.collaborative.items.detach().numpy(), bias]).astype(np.float32)
    rows = learnt.collaborative.table.detach().numpy()[: len(users)]
    model.publish(
        items=dict(enumerate(items)),
        users={user: np.append(row, np.float32(1)) for user, row in zip(users, rows, strict=True)},
        histories={user: items.tolist() for user, items in zip(users, likes, strict=True)},
    )


def assert_same(scores: Array, likes: Array, answer: RecommendAnswer) -> None:
    """The answer holds every item but the likes, by logarithms of the softmax over all of them."""
    expected = scores - scores.max() - np.log(np.exp(scores - scores.max()).sum())
    found = {int(item.item_id): item.score for item in answer.items}
    assert found.keys() == set(range(len(scores))) - set(likes.tolist())
    for number, score in found.items():
        assert score == pytest.approx(expected[number], abs=TOLERANCE, rel=TOLERANCE)
    assert [item.score for item in answer.items] == sorted(found.values(), reverse=True)

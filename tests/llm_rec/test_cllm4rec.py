"""The recommender on two communities whose right answers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llm_rec.cllm4rec import CLLM4Rec
from llm_rec.config import Cllm4recConfig
from llm_rec.documents import Review
from llm_rec.item_weights import words_of
from llm_rec.material import Material
from llm_rec.new_items import NewItems
from llm_rec.recommender import Recommender
from llm_rec.schedule import ScheduleConfig
from llm_rec.scoring import score_prompts
from llm_rec.splits import Split
from llm_rec.switches import Switches, paper, reference
from streams.contract.columns import Array
from streams.contract.errors import ConflictError, InputError
from streams.contract.values import Floats
from tests.support.two_communities import NUM_ITEMS, NUM_USERS, TINY, coloured, quiet, two_communities, with_switches

NEW_RED_ITEM = 11


def fitted(config: Cllm4recConfig = TINY, split: Split | None = None, *, seed: int = 0) -> CLLM4Rec:
    model = CLLM4Rec(config, tell=quiet)
    model.fit(two_communities() if split is None else split, coloured(), seed=seed)
    return model


def first_unseen(scores: Floats, seen: list[Array]) -> list[int]:
    scores = scores.copy()
    for row, items in enumerate(seen):
        scores[row, items] = -np.inf
    return [int(item) for item in scores.argmax(1)]


@pytest.fixture(scope="module")
def trained() -> CLLM4Rec:
    return fitted()


def test_it_is_a_recommender_and_says_its_name(trained: CLLM4Rec) -> None:
    recommender: Recommender = trained
    assert recommender.name == "tiny"


@pytest.mark.parametrize("switches", [paper(), reference()], ids=["paper", "reference"])
def test_the_withheld_item_of_a_users_own_community_ranks_first(switches: Switches) -> None:
    split = two_communities()
    scores = fitted(with_switches(TINY, switches)).scores(np.arange(NUM_USERS), split.train)
    assert scores.shape == (NUM_USERS, NUM_ITEMS)
    assert scores.dtype == np.float32
    assert first_unseen(scores, split.train) == [int(items[0]) for items in split.test]


def test_pretraining_alone_ranks_the_own_community_first() -> None:
    split = two_communities()
    schedule = replace(TINY.schedule, pretraining_epochs=30, finetuning_epochs=0)
    best = first_unseen(fitted(replace(TINY, schedule=schedule)).scores(np.arange(NUM_USERS), split.train), split.train)
    assert [item % 2 for item in best] == [user % 2 for user in range(NUM_USERS)]


@pytest.mark.parametrize("stranger", [-1, NUM_USERS])
def test_an_unknown_user_is_scored_by_the_history_alone(trained: CLLM4Rec, stranger: int) -> None:
    history = [np.array([1, 5, 7])]
    scores = trained.scores(np.array([stranger]), history)
    prompt = trained.writer.prompt(None, history[0])
    assert np.array_equal(scores, score_prompts(trained.models, [prompt]))


def test_a_user_without_training_likes_is_unknown() -> None:
    split = two_communities()
    split.train[3] = split.train[3][:0]
    model = fitted(split=split)
    history = [np.array([1, 5])]
    assert np.array_equal(model.scores(np.array([3]), history), model.scores(np.array([-1]), history))


def test_unknown_users_get_their_communitys_withheld_item_where_training_met_some() -> None:
    split = two_communities()
    model = fitted(replace(TINY, schedule=replace(TINY.schedule, anonymous_share=0.5, finetuning_epochs=40)))
    best = first_unseen(model.scores(np.full(NUM_USERS, -1), split.train), split.train)
    assert best == [int(items[0]) for items in split.test]


def test_a_new_item_has_its_content_embedding() -> None:
    models = fitted(split=without_new_item()).models
    assert (models.collaborative.items[NEW_RED_ITEM] == models.content.items[NEW_RED_ITEM]).all()
    assert (models.collaborative.items[0] != models.content.items[0]).any()


def test_validation_sees_new_items_as_they_will_be_served_and_leaves_training_alone() -> None:
    models, material = fitted().models, Material(without_new_item().train, coloured().texts)
    before = models.snapshot()
    with NewItems(material, "content", words_of(material.texts)).grafted(models):
        assert (models.collaborative.items[NEW_RED_ITEM] == models.content.items[NEW_RED_ITEM]).all()
    assert (models.collaborative.table == before["collaborative"]).all()


def without_new_item() -> Split:
    split = two_communities()
    train = [items[items != NEW_RED_ITEM] for items in split.train]
    return Split(split.name, split.users, split.items, train, split.valid, split.test)


def test_shuffled_histories_differ_less_where_training_shuffled_them() -> None:
    """The spread of a user's scores over orders of one history, against that over items; mean of two seeds."""

    def spread(order: str) -> float:
        switches = Switches(pretrain_order=order, finetune_order=order)  # type: ignore[arg-type]
        return float(np.mean([order_spread(fitted(with_switches(TINY, switches), seed=seed)) for seed in (0, 1)]))

    assert spread("random") < 0.6 * spread("chrono")


def order_spread(model: CLLM4Rec) -> float:
    shares = []
    for user, items in enumerate(two_communities().train):
        rng = np.random.default_rng(user)
        scores = model.scores(np.full(8, user), [rng.permutation(items) for _ in range(8)])
        scores = scores - scores.mean(1, keepdims=True)
        shares.append(scores.std(0).mean() / scores.mean(0).std())
    return float(np.mean(shares))


def test_reviews_are_read_and_teach_the_content_of_users() -> None:
    without, reviewed = fitted(), CLLM4Rec(TINY, reviews=[Review(0, 0, "so blue")], tell=quiet)
    reviewed.fit(two_communities(), coloured(), seed=0)
    moved = (reviewed.models.content.table != without.models.content.table).any(1)
    assert bool(moved[0])
    assert not bool(moved[1])


def test_scores_before_fit_are_refused() -> None:
    with pytest.raises(ConflictError, match="learnt nothing yet"):
        CLLM4Rec(TINY).scores(np.array([0]), [np.array([1])])


def test_a_rate_of_regularisation_without_content_is_refused() -> None:
    with pytest.raises(InputError, match="no content is learnt"):
        Cllm4recConfig(with_content=False)


@pytest.mark.parametrize("change", [{"warm_up_epochs": -1}, {"batch_size": 0}, {"masked_share": 1.5}], ids=str)
def test_a_schedule_that_cannot_be_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(InputError):
        ScheduleConfig(**change)  # type: ignore[arg-type]

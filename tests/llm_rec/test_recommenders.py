"""What holds for every recommender, on two communities whose diagonal is withheld."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llm_rec.held_out import measure
from llm_rec.recipes import RECIPES, recipe
from llm_rec.recommender import Recommender
from streams.contract.columns import Array
from streams.contract.errors import InputError
from tests.support.communities import CATALOGUE, SIZE, communities

UNPERSONAL = ("popularity", "recent-popularity")
SHORT_OF_LIKES = [name for name in RECIPES if name.endswith(("-small", "-small-paper"))]


@pytest.fixture(scope="module", params=RECIPES)
def fitted(request: pytest.FixtureRequest) -> Recommender:
    """Each recipe's first candidate, fitted on the communities."""
    return fit(request.param)


def fit(name: str, seed: int = 0) -> Recommender:
    if name == "item-knn":
        pytest.importorskip("implicit", reason="the baseline item-knn needs the package implicit")
    recommender = next(iter(recipe(name).candidates.values()))()
    recommender.fit(communities(), CATALOGUE, seed=seed)
    return recommender


def test_withheld_item_stands_above_all_of_the_other_community(fitted: Recommender) -> None:
    if fitted.name in UNPERSONAL:
        pytest.skip("ranks for everyone alike")
    if fitted.name in SHORT_OF_LIKES:
        pytest.skip("its few epochs are for tens of thousands of likes; test_cllm4rec.py has more of them")
    found = measure(fitted, communities(), "test")
    assert len(found.users) == 2 * SIZE
    assert found.values["ndcg_at_100"].tolist() == [1.0] * (2 * SIZE)


def test_scores_are_one_finite_float32_an_item(fitted: Recommender) -> None:
    scores = fitted.scores(np.arange(3), communities().train[:3])
    assert scores.shape == (3, 2 * SIZE)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


def test_user_without_history_has_scores(fitted: Recommender) -> None:
    assert np.isfinite(fitted.scores(np.array([0]), [np.zeros(0, dtype=np.int64)])).all()


def test_no_users_have_no_scores(fitted: Recommender) -> None:
    assert fitted.scores(np.zeros(0, dtype=np.int64), []).shape == (0, 2 * SIZE)


def test_scores_of_a_batch_are_those_one_by_one(fitted: Recommender) -> None:
    histories: list[Array] = [items[: 1 + user % 5] for user, items in enumerate(communities().train)]
    together = fitted.scores(np.arange(len(histories)), histories)
    alone = [fitted.scores(np.array([user]), [history])[0] for user, history in enumerate(histories)]
    np.testing.assert_allclose(together, np.stack(alone), rtol=1e-4, atol=1e-5)


def test_scoring_changes_nothing(fitted: Recommender) -> None:
    first = fitted.scores(np.arange(2), communities().train[:2])
    fitted.scores(np.arange(2), communities().train[2:4])
    assert np.array_equal(first, fitted.scores(np.arange(2), communities().train[:2]))


@pytest.mark.parametrize("name", RECIPES)
def test_same_seed_gives_the_same_fit_and_a_second_fit_forgets_the_first(name: str) -> None:
    users, histories = np.arange(4), communities().train[:4]
    once, twice = fit(name), fit(name, seed=1)
    other = twice.scores(users, histories)
    twice.fit(communities(), CATALOGUE, seed=0)
    assert np.array_equal(once.scores(users, histories), twice.scores(users, histories))
    assert np.array_equal(once.scores(users, histories), other) is not recipe(name).drawn


@pytest.mark.parametrize("name", [name for name, each in RECIPES.items() if each.drawn])
def test_fit_leaves_the_global_generator_alone(name: str) -> None:
    before = torch.get_rng_state()
    fit(name)
    assert torch.equal(before, torch.get_rng_state())


def test_unknown_recipe_names_those_there_are() -> None:
    with pytest.raises(InputError, match="popularity"):
        recipe("nosuch")

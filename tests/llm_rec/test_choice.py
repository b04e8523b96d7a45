"""The choice is validation's, and the measurement runs from data to table."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench import recommend
from bench.recommend_cases import Case, outcomes_of
from llm_rec.baselines.ease import Ease, EaseConfig
from llm_rec.baselines.popularity import Popularity, PopularityConfig
from llm_rec.choice import Outcome, choose_and_measure
from llm_rec.held_out import HeldOutConfig
from llm_rec.recipes import BASE, OURS, RECIPES, Recipe
from llm_rec.splits import Split
from streams.contract.errors import NotFoundError
from tests.support.communities import CATALOGUE, SIZE, communities
from tests.support.liked_films import write_films
from tests.support.shared_data import shared_data

EASE = Recipe(candidates={
    "alike for all": partial(Popularity, PopularityConfig()), "of the history": partial(Ease, EaseConfig(l2=1.0)),
})  # fmt: skip


def test_candidate_that_validation_likes_best_is_measured_on_test() -> None:
    outcome = choose_and_measure(EASE, communities(), CATALOGUE, (0, 1), HeldOutConfig())
    assert outcome.chosen == "of the history"
    assert outcome.tried["alike for all"] < outcome.tried["of the history"]
    assert len(outcome.per_seed) == 1


def test_every_seed_is_measured_where_the_fit_is_drawn() -> None:
    recipe = replace(EASE, drawn=True)
    assert len(choose_and_measure(recipe, communities(), CATALOGUE, (0, 1, 2), HeldOutConfig()).per_seed) == 3


def outcomes(split: Split, recipes: dict[str, Recipe]) -> dict[str, Outcome | str]:
    return {
        name: choose_and_measure(recipe, split, CATALOGUE, (0,), HeldOutConfig()) for name, recipe in recipes.items()
    }


def test_summary_compares_recipes_with_popularity_and_tells_what_was_left_out() -> None:
    recipes = {"popularity": RECIPES["popularity"], "ease": EASE}
    found = recommend.summed_up("case", outcomes(communities(), recipes) | {"recent-popularity": "an order alone"})
    assert set(found["results"]) == {"popularity", "ease"}
    assert found["results"]["ease"]["ndcg_at_100"] > found["results"]["popularity"]["ndcg_at_100"]
    assert found["paired"]["ease"]["ndcg_at_100"]["ci95"][0] > 0
    assert found["left_out"] == {"recent-popularity": "an order alone"}
    assert found["base"] == "popularity"
    assert found["paired_with_ours"] == {}


def test_summary_compares_everybody_with_ours() -> None:
    found = recommend.summed_up("case", outcomes(communities(), {"popularity": RECIPES["popularity"], OURS: EASE}))
    assert found["paired_with_ours"]["popularity"]["ndcg_at_100"]["ci95"][1] < 0


def test_new_items_are_measured_alone_and_no_likes_can_tell_them_apart() -> None:
    split, new = communities(), 0
    train = [items[items != new] for items in split.train]
    test = [np.array([new, user]) if user else np.array([user]) for user in range(2 * SIZE)]
    recipes = {"popularity": RECIPES["popularity"], "ease": EASE}
    found = recommend.summed_up("case", outcomes(replace(split, train=train, test=test), recipes))
    assert found["new_items"]["users"] == 2 * SIZE - 1  # one has it as validation like
    assert found["new_items"]["results"]["ease"]["ndcg_at_100"] < found["results"]["ease"]["ndcg_at_100"]
    assert recommend.summed_up("case", outcomes(split, recipes))["new_items"] == {}


def test_recipes_are_measured_side_by_side_and_what_needs_times_is_left_out_without() -> None:
    case = Case(data="movielens:{folder}/movielens_1m", split="random")
    found = outcomes_of({"films": case}, ["popularity", "recent-popularity", "nosuch"], shared_data(), (0,))["films"]
    assert list(found) == ["popularity", "recent-popularity", "nosuch"]
    assert isinstance(found["popularity"], Outcome)
    assert 0.05 < found["popularity"].per_seed[0].values["ndcg_at_100"].mean() < 0.2
    assert "unknown recommender" in str(found["nosuch"])


def test_facts_count_what_was_never_learnt_from() -> None:
    split = communities()
    split.train[0] = split.valid[0] = split.train[0][:0]
    found = recommend.facts(split)
    assert (found["users_asked"], found["users_without_history"], found["items_without_likes"]) == (2 * SIZE, 1, 0)


@pytest.mark.parametrize("folder", [".", "nosuch"])
def test_a_folder_without_any_of_the_data_is_refused(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRESHET_SHARED_DATA", str(tmp_path / folder))
    with pytest.raises(NotFoundError, match="FRESHET_SHARED_DATA"):
        recommend.run(quick=True)


def test_data_that_are_absent_are_left_out_and_named(tmp_path: Path) -> None:
    write_films(tmp_path / "films")
    cases = {name: Case(data=f"movielens:{{folder}}/{name}", split="time") for name in ("films", "nosuch")}
    found = recommend.measured(cases, ("popularity",), tmp_path, (0,))
    assert set(found["films"]["results"]) == {"popularity"}
    assert "nosuch" in found["nosuch"]["left_out"]


def test_popularity_is_the_base_and_has_nothing_to_choose() -> None:
    assert next(iter(RECIPES)) == BASE
    outcome = choose_and_measure(RECIPES["popularity"], communities(), CATALOGUE, (0,), HeldOutConfig())
    assert outcome.tried == {}
    assert isinstance(RECIPES["popularity"].candidates[outcome.chosen](), Popularity)

"""The named runs."""

from __future__ import annotations

import pytest

from llm_rec.cllm4rec_recipes import RECIPES, recipe_named
from streams.contract.errors import NotFoundError


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_bears_the_name_it_is_found_by(name: str) -> None:
    assert recipe_named(name).name == name


def test_no_two_recipes_are_the_same_run() -> None:
    assert len({repr(recipe_named(name)).split(", ", 1)[1] for name in RECIPES}) == len(RECIPES)


def test_an_unknown_name_is_told_the_others() -> None:
    with pytest.raises(NotFoundError) as caught:
        recipe_named("llm-magic")
    assert "llm-fixord" in str(caught.value.remedy)

"""Recipes: what changes with an option, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streams.contract.errors import InputError
from streams.contract.schema import load_schema
from streams.datasets.registry import schema_path
from trainer.learner import Learner
from trainer.recipes import (
    check_trainable,
    differences,
    has_rounds,
    recipe,
    recipe_names,
    recipe_to_state,
    with_round_seconds,
    with_table_rows,
)


@pytest.mark.parametrize("name", recipe_names())
def test_table_rows_set_every_table_and_nothing_else(name: str) -> None:
    named = recipe(name)
    bounded = with_table_rows(replace(named, tables=replace(named.tables, capacity_of={"C1": 7})), 500)
    assert (bounded.tables.capacity, bounded.tables.capacity_of) == (500, None)
    assert replace(bounded, tables=named.tables) == named


def test_tables_of_one_row_are_refused_with_the_remedy() -> None:
    path = schema_path("simulator:small")
    assert path is not None
    with pytest.raises(InputError, match="at least one more"):
        Learner(load_schema(path), with_table_rows(recipe("default"), 1))


def test_oracle_and_whole_rounds_are_refused_for_training_and_every_other_recipe_is_not() -> None:
    for name in recipe_names():
        if name != "oracle" and recipe(name).update is None:
            check_trainable(recipe(name))
    check_trainable(recipe("fgd-3-live"))
    with pytest.raises(InputError, match="use fgd-3-live"):
        check_trainable(recipe("fgd-3"))
    for name in ("spmf-3", "asmg-gru-3"):
        with pytest.raises(InputError, match="whole rounds") as caught:
            check_trainable(recipe(name))
        assert f"{name}-live" not in str(caught.value)
    with pytest.raises(InputError, match="final labels"):
        check_trainable(recipe("oracle"))


def test_saved_recipe_without_a_setting_of_today_had_its_default() -> None:
    config = recipe("fgd-3-linear-live")
    state = recipe_to_state(config)
    del state["teacher"], state["update"]["reach"], state["update"]["generator"]["max_negative"]
    assert differences(config, state) == []
    state["update"]["generator"]["ridge"] = 7.0
    assert differences(config, state) == ["update.generator.ridge"]


def test_round_seconds_are_set_wherever_there_are_rounds() -> None:
    for name in recipe_names():
        named = recipe(name)
        longer = with_round_seconds(named, 86_400)
        parts = [part for part in (longer.update, longer.teacher) if part is not None]
        assert [part.round_seconds for part in parts] == [86_400] * len(parts)
        assert bool(parts) == has_rounds(named)
        assert parts or longer == named


def test_short_name_is_the_window_of_three() -> None:
    assert recipe("asmg-gru").update == recipe("asmg-gru-3").update

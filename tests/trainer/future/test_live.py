"""Rounds inside the continual loop: replay, resume, and that only what is new is scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streams.contract.columns import Array
from streams.contract.errors import InputError
from tests.support.toy_examples import toy_batch, toy_recipe, toy_schema
from trainer.changes import Changes
from trainer.future.config import UpdateConfig, Weighing
from trainer.future.live import WindowLearner, continual_learner
from trainer.learner import Learner
from trainer.learner_state import learner_tensors, learner_values, load_learner
from trainer.prepare import Preparer
from trainer.recipes import RecipeConfig

WEIGHINGS: tuple[Weighing, ...] = ("uniform", "attention", "linear", "eg")


def live(weighing: Weighing, **changes: object) -> RecipeConfig:
    update = UpdateConfig(weighing=weighing, mode="live", round_seconds=60, gram_every=3)
    return toy_recipe(name=weighing, update=replace(update, **changes))  # type: ignore[arg-type]


def train(learner: Learner, steps: range) -> list[Array]:
    prepare = Preparer(learner.schema)
    return [learner.learn(prepare(toy_batch(12, start=12 * step))).logit for step in steps]


@pytest.mark.parametrize("weighing", WEIGHINGS)
def test_resumed_learner_goes_on_bit_for_bit(weighing: Weighing, tmp_path: Path) -> None:
    whole, first, second = (WindowLearner(toy_schema(), live(weighing), tmp_path / name) for name in "abc")
    train(first, range(31))
    tensors = {part: {n: np.array(a) for n, a in arrays.items()} for part, arrays in learner_tensors(first).items()}
    load_learner(second, tensors, learner_values(first))
    expected = train(whole, range(50))[31:]
    for got, due in zip(train(second, range(31, 50)), expected, strict=True):
        np.testing.assert_array_equal(got, due)
    ended, due_tensors = learner_tensors(second), learner_tensors(whole)
    assert ended.keys() == due_tensors.keys()
    for part, arrays in ended.items():
        assert arrays.keys() == due_tensors[part].keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, due_tensors[part][name], err_msg=f"{part}/{name}")


def test_replayed_examples_are_learnt_but_neither_scored_nor_counted_as_new(tmp_path: Path) -> None:
    learner = WindowLearner(toy_schema(), live("uniform"), tmp_path)
    train(learner, range(30))
    assert learner.progressive.lifetime.scores().examples == learner.counters.examples == 30 * 48
    np.testing.assert_allclose(learner.weights, 1 / 3)
    alone = Learner(toy_schema(), toy_recipe())
    train(alone, range(30))
    np.testing.assert_array_equal(learner.vocabulary.state()["ids"], alone.vocabulary.state()["ids"])


def test_window_of_one_round_with_full_batches_is_the_plain_learner_bit_for_bit(tmp_path: Path) -> None:
    window = WindowLearner(toy_schema(), replace(live("uniform", num_rounds=1), batch_size=64), tmp_path)
    plain = Learner(toy_schema(), toy_recipe(batch_size=64))
    for got, due in zip(train(window, range(20)), train(plain, range(20)), strict=True):
        np.testing.assert_array_equal(got, due)


def test_rows_that_replay_changes_are_published(tmp_path: Path) -> None:
    learner = WindowLearner(toy_schema(), live("uniform"), tmp_path)
    train(learner, range(12))
    before = {name: array.copy() for name, array in learner.tables.state().items()}
    learner.changes = Changes(learner.vocabulary.num_slots, len(learner.ad_keys))
    train(learner, range(12, 13))
    touched = set(np.flatnonzero(np.unpackbits(learner.changes.state()["touched"])).tolist())
    moved = [learner.vocabulary.offsets[number]
             + np.flatnonzero((before[f"{name}/weight"] != learner.tables.state()[f"{name}/weight"]).any(axis=1))
             for number, name in enumerate(learner.tables.names)]  # fmt: skip
    slots = set(np.concatenate(moved).tolist())
    assert slots <= touched
    newest = learner.find(Preparer(learner.schema)(toy_batch(12, start=144))).assignment.slots
    assert not slots <= set(newest.tolist())


def test_disk_is_bounded_in_rounds_and_in_examples_a_round(tmp_path: Path) -> None:
    learner = WindowLearner(toy_schema(), live("uniform", max_round_examples=100), tmp_path)
    train(learner, range(40))
    assert len(list(tmp_path.glob("round-*"))) <= 4
    records = [n for n in learner.window_state() if n.startswith("rounds:") and n.endswith("/records")]
    assert all(learner.window_state()[name][:, 1].sum() <= 100 for name in records)


def test_continual_trainer_takes_live_recipes_and_refuses_whole_rounds(tmp_path: Path) -> None:
    assert type(continual_learner(toy_schema(), toy_recipe(), tmp_path)) is Learner
    assert isinstance(continual_learner(toy_schema(), live("attention"), tmp_path), WindowLearner)
    with pytest.raises(InputError, match="attention-live"):
        continual_learner(toy_schema(), live("attention", mode="paper"), tmp_path)

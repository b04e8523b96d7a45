"""Batches learnt in parts at first: how large, and what a part sees of those before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from streams.contract.errors import InputError
from streams.contract.examples import ExampleBatch
from streams.contract.values import Floats
from tests.support.saved_learners import assert_bit_identical, hand_over
from tests.support.toy_examples import toy_batch, toy_recipe, toy_schema
from trainer.admission import AdmissionConfig
from trainer.dense_optimizer import DenseOptimizerConfig
from trainer.learner import Learner
from trainer.model.tables import TablesConfig
from trainer.parts import PartsConfig, part_size, ranges
from trainer.prepare import Preparer
from trainer.recipes import RecipeConfig, recipe
from trainer.vocabulary import VocabularyConfig

PREPARE = Preparer(toy_schema())
IN_PARTS = toy_recipe(
    first_parts=PartsConfig(smallest=16, share=1 / 16),
    vocabulary=VocabularyConfig(admission=AdmissionConfig(admit_after=1)),
    tables=TablesConfig(capacity=200, optimizer="sgd", learning_rate=2.0, initial_scale=1.0),
    optimizer=DenseOptimizerConfig(learning_rate=0.02, initial_accumulator=1.0),
)


def learnt(config: RecipeConfig, *batches: ExampleBatch) -> Learner:
    model = Learner(toy_schema(), config)
    for batch in batches:
        model.learn(PREPARE(batch))
    return model


def network_of(model: Learner) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in model.network.state_dict().values()]


def rows_of(model: Learner) -> list[Floats]:
    return [model.tables.read_rows(name, np.arange(50)) for name in model.tables.names]


@pytest.mark.parametrize(
    ("num_learnt", "size"), [(0, 32), (8191, 32), (8192, 64), (16_383, 64), (16_384, 128), (32_768, 256), (10**9, 256)]
)
def test_parts_grow_with_what_is_learnt_up_to_the_batch(num_learnt: int, size: int) -> None:
    assert part_size(PartsConfig(), 256, num_learnt) == size


def test_without_parts_every_batch_is_whole_however_little_is_learnt() -> None:
    assert part_size(None, 256, 0) == 256


@pytest.mark.parametrize("batch_size", [1, 20])
def test_batches_smaller_than_a_part_are_whole(batch_size: int) -> None:
    assert part_size(PartsConfig(), batch_size, 0) == batch_size


def test_ranges_hold_every_example_once_the_last_one_shorter() -> None:
    assert list(ranges(70, 32)) == [(0, 32), (32, 64), (64, 70)]


@pytest.mark.parametrize(
    ("field", "settings"), [("smallest", {"smallest": 0}), ("share", {"share": 0.0}), ("share", {"share": 1.5})]
)
def test_impossible_parts_are_refused_by_name(field: str, settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"first_parts.{field}"):
        PartsConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["incctr", "fgd-3-live"])
def test_recipes_that_take_whole_batches_refuse_parts(name: str) -> None:
    with pytest.raises(InputError, match="first_parts"):
        replace(recipe(name), first_parts=PartsConfig())


def test_a_part_is_predicted_by_what_the_parts_before_it_taught_and_by_no_label_of_its_own() -> None:
    batch = toy_batch(16)
    turned = batch.label.copy()
    turned[16:32] = 1 - turned[16:32]
    first = Learner(toy_schema(), IN_PARTS).learn(PREPARE(batch)).logit
    second = Learner(toy_schema(), IN_PARTS).learn(PREPARE(replace(batch, label=turned))).logit
    np.testing.assert_array_equal(first[:32], second[:32])
    assert not np.array_equal(first[32:48], second[32:48])


def test_batch_in_parts_leaves_the_model_that_its_parts_leave_one_after_the_other() -> None:
    batch = toy_batch(16)
    first = Learner(toy_schema(), IN_PARTS)
    # All ids admitted beforehand, as a batch admits its ids before its first part.
    first.vocabulary.assign(PREPARE(batch).seen, 0)
    parts = Learner(toy_schema(), IN_PARTS)
    parts.vocabulary.assign(PREPARE(batch).seen, 0)
    first.learn(PREPARE(batch))
    for start in range(0, 64, 16):
        parts.learn(PREPARE(batch.slice(start, start + 16)))
    for a, b in zip(network_of(first), network_of(parts), strict=True):
        torch.testing.assert_close(a, b)
    assert (first.counters.step, first.counters.examples) == (1, 64)


def test_part_moves_rows_as_examples_of_a_batch_and_the_network_as_a_batch_of_its_size() -> None:
    few = toy_batch(4)
    part = learnt(IN_PARTS, few)
    whole, small = (learnt(replace(IN_PARTS, first_parts=None, batch_size=size), few) for size in (64, 16))
    for a, b in zip(rows_of(part), rows_of(whole), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    for c, d in zip(network_of(part), network_of(small), strict=True):
        torch.testing.assert_close(c, d)
    assert not all(torch.allclose(a, b) for a, b in zip(network_of(part), network_of(whole), strict=True))


def test_learner_stopped_while_its_parts_grow_resumes_bit_identical() -> None:
    batches = [toy_batch(16, start=16 * number) for number in range(20)]
    assert {part_size(IN_PARTS.first_parts, 64, 64 * number) for number in range(20)} == {16, 32, 64}
    straight, stopped, resumed = learnt(IN_PARTS, *batches), learnt(IN_PARTS, *batches[:6]), learnt(IN_PARTS)
    hand_over(stopped, resumed)
    for batch in batches[6:]:
        resumed.learn(PREPARE(batch))
    assert_bit_identical(straight, resumed)

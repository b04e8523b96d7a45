"""Both losses by hand, and what the teacher is: the model as it stood, whatever became of its rows since."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.examples import ExampleBatch
from tests.support.round_batches import REQUESTS_A_ROUND, round_batches, toy_strategy
from tests.support.saved_learners import assert_bit_identical, hand_over
from tests.support.toy_examples import toy_batch, toy_recipe, toy_schema
from trainer.downsampling import DownsamplingConfig
from trainer.future.config import UpdateConfig
from trainer.learner import Learner
from trainer.learner_state import learner_tensors, learner_values, load_learner
from trainer.prepare import Preparer
from trainer.recipes import RecipeConfig, check_trainable, recipe
from trainer.strategies.config import TeacherConfig
from trainer.strategies.taught import TaughtLearner
from trainer.strategies.teacher import taught_losses

REQUESTS = 8
"""A round is five batches: none crosses its end."""
RECIPES = ("reloop", "incctr")


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def losses(config: TeacherConfig, z: float, y: float, earlier: float) -> tuple[float, float]:
    """The loss of one example and its gradient by the logit."""
    logit = torch.tensor([z], dtype=torch.float64, requires_grad=True)
    loss = taught_losses(logit, torch.tensor([y]).double(), torch.tensor([earlier]).double(), config)
    (gradient,) = torch.autograd.grad(loss.sum(), logit)
    return loss.item(), gradient.item()


@pytest.mark.parametrize("label", [0.0, 1.0])
@pytest.mark.parametrize(("now", "earlier"), [(0.3, 1.2), (0.3, -0.7), (-2.0, -2.5)])
def test_reloop_adds_what_the_probability_is_worse_by_and_nothing_where_it_is_better(
    label: float, now: float, earlier: float
) -> None:
    p, q, share = sigmoid(now), sigmoid(earlier), 0.2
    worse = max(q - p, 0.0) if label else max(p - q, 0.0)
    slope = 0.0 if worse == 0 else (-p * (1 - p) if label else p * (1 - p))
    cross_entropy = -math.log(p if label else 1 - p)
    loss, gradient = losses(TeacherConfig(loss="worse", share=share), now, label, earlier)
    assert loss == pytest.approx(0.8 * cross_entropy + 0.2 * worse)
    assert gradient == pytest.approx(0.8 * (p - label) + 0.2 * slope)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_distilled_loss_is_cross_entropy_to_the_earlier_probability(temperature: float) -> None:
    z, earlier, share = 0.4, -1.1, 0.3
    q, softened = sigmoid(earlier / temperature), sigmoid(z / temperature)
    of_teacher = -(q * math.log(softened) + (1 - q) * math.log(1 - softened))
    config = TeacherConfig(loss="distil", share=share, temperature=temperature)
    loss, gradient = losses(config, z, 1.0, earlier)
    assert loss == pytest.approx(0.7 * -math.log(sigmoid(z)) + 0.3 * of_teacher)
    assert gradient == pytest.approx(0.7 * (sigmoid(z) - 1) + 0.3 * (softened - q) / temperature)


def learnt(learner: Learner, batches: list[ExampleBatch]) -> list[Array]:
    prepare = Preparer(learner.schema)
    return [learner.learn(prepare(batch)).logit for batch in batches]


def few(num_rounds: int) -> list[ExampleBatch]:
    return list(round_batches(num_rounds, requests=REQUESTS))


def of_learner(recipe: RecipeConfig) -> TaughtLearner:
    return TaughtLearner(toy_schema(), recipe)


@pytest.mark.parametrize("name", RECIPES)
def test_first_round_has_no_teacher_and_is_the_plain_learner_bit_for_bit(name: str) -> None:
    in_round = REQUESTS_A_ROUND // REQUESTS
    taught, plain = (
        learnt(each, few(2)) for each in (of_learner(toy_strategy(name)), Learner(toy_schema(), toy_recipe()))
    )
    # The first batch of the second round is predicted before anything is learnt of it.
    np.testing.assert_array_equal(taught[: in_round + 1], plain[: in_round + 1])
    assert not np.array_equal(taught[in_round + 1 :], plain[in_round + 1 :])


def test_teacher_scores_as_the_model_did_when_the_round_began() -> None:
    config = toy_strategy("reloop")
    wide = replace(config, tables=replace(config.tables, capacity=3000))
    taught, then = of_learner(wide), Learner(toy_schema(), wide)
    before, since = few(3)[:10], few(3)[10:]
    learnt(taught, before)
    load_learner(then, learner_tensors(taught), learner_values(taught))
    num_rows = len(taught.vocabulary)
    learnt(taught, since)
    assert len(taught.vocabulary) > num_rows + 20, "ids that the teacher does not know"
    batch = Preparer(toy_schema())(toy_batch(64, start=5))
    np.testing.assert_allclose(taught.taught(taught.find(batch)).numpy(), then.predict(batch), rtol=1e-5, atol=1e-6)
    assert not np.allclose(taught.predict(batch), then.predict(batch), atol=1e-3)


def test_slot_that_was_given_to_another_id_since_is_unknown_to_the_teacher() -> None:
    config = toy_strategy("incctr")
    learner = of_learner(replace(config, tables=replace(config.tables, capacity=40)))
    batches = few(5)
    learnt(learner, batches[:16])
    then = learner.vocabulary.items()
    assert learner.round == 3
    learnt(learner, batches[16:20])
    now = learner.vocabulary.items()
    held = {slot: (table, key) for table, key, slot in zip(then.tables, then.ids, then.slots, strict=True)}
    others = np.array([held.get(slot) not in (None, (table, key)) for table, key, slot in
                       zip(now.tables, now.ids, now.slots, strict=True)])  # fmt: skip
    assert others.sum() > 10, "slots change hands"
    assert not learner.known(now.slots[others], 2).any()
    assert learner.known(learner.vocabulary.offsets, 2).all(), "default rows are in every model"


@pytest.mark.parametrize("name", RECIPES)
def test_resumed_learner_goes_on_bit_for_bit(name: str) -> None:
    whole, first, second = (of_learner(toy_strategy(name)) for _ in range(3))
    batches = few(5)
    learnt(first, batches[:13])
    hand_over(first, second)
    for got, due in zip(learnt(second, batches[13:]), learnt(whole, batches)[13:], strict=True):
        np.testing.assert_array_equal(got, due)
    assert_bit_identical(whole, second)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_with_a_teacher_trains_live(name: str) -> None:
    check_trainable(recipe(name))


@pytest.mark.parametrize(
    "other", [{"update": UpdateConfig()}, {"downsampling": DownsamplingConfig(keep_negatives=0.5)}]
)
def test_teacher_beside_another_loss_is_refused(other: dict[str, object]) -> None:
    with pytest.raises(InputError, match="teacher"):
        replace(recipe("reloop"), **other)  # type: ignore[arg-type]


@pytest.mark.parametrize("field", [{"share": 1.5}, {"temperature": 0.0}, {"round_seconds": 0.0}])
def test_impossible_settings_are_refused_by_name(field: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(field))):
        TeacherConfig(**{"loss": "distil", "share": 0.1, **field})  # type: ignore[arg-type]

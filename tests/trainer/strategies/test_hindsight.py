"""Weights of a first pass: the best of what was measured, refused where nothing can know them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.events import Feedback
from streams.datasets.observed import Observed
from tests.support.counted import counted_schema
from tests.support.toy_examples import toy_recipe, toy_schema
from tests.trainer.test_evaluate import observed
from trainer.evaluate import evaluate
from trainer.future.config import UpdateConfig, Weighing
from trainer.future.gram import Gram, gram_of, mean_gram, relative
from trainer.future.mixers import RecordedGrams
from trainer.recipes import RecipeConfig, check_trainable, recipe
from trainer.strategies.hindsight import best_weights, in_hindsight

IMPRESSIONS = 120
"""A minute apart, three examples each: twelve rounds."""


def named(name: str, update: UpdateConfig) -> RecipeConfig:
    return toy_recipe(name=name, update=replace(update, round_seconds=600))


def data(flip_from: int = IMPRESSIONS) -> Iterator[Observed]:
    """Every click of the impressions from `flip_from` on is none, and the other way round."""
    for number, each in enumerate(observed(IMPRESSIONS)):
        clicked = {feedback.ad_id for feedback in each.feedback}
        others = [ad for ad in each.impression.ad_ids if ad not in clicked]
        yield each if number < flip_from else Observed(each.impression, [_click(each, ad) for ad in others])


def _click(each: Observed, ad: str) -> Feedback:
    shown = each.impression
    return Feedback(event_id=f"x{shown.event_id}-{ad}", event_time_ms=shown.event_time_ms + 500,
                    session_id=shown.session_id, impression_id=shown.event_id, ad_id=ad)  # fmt: skip


def test_best_weights_are_those_that_the_targets_were_made_of() -> None:
    recorded, truth = RecordedGrams(3), np.array([0.1, 0.0, 0.9], dtype=np.float32)
    for t in range(20):
        rounds = np.random.default_rng(t).normal(size=(3, 40)).astype(np.float32)
        whole = np.concatenate([rounds, truth[None] @ rounds])
        recorded.learn(t, relative([gram_of(np.stack([whole, whole], axis=1))]))
    np.testing.assert_allclose(best_weights(recorded), truth, atol=1e-3)


def test_best_weights_have_the_least_summed_error_of_the_simplex() -> None:
    recorded = RecordedGrams(3)
    for t in range(12):
        halves = np.random.default_rng(t).normal(size=(4, 2, 40)).astype(np.float32) + 0.5
        recorded.learn(t, relative([gram_of(halves)]))
    best, total = best_weights(recorded), mean_gram(recorded.grams)
    assert best.sum() == pytest.approx(1)
    others = np.random.default_rng(9).dirichlet(np.ones(3), 500)
    assert total.loss(best) <= min(total.loss(each) for each in others) + 1e-9


def test_weights_are_uniform_where_no_round_was_mixed() -> None:
    np.testing.assert_allclose(best_weights(RecordedGrams(4)), 0.25)


def test_recorded_products_go_on_from_their_state() -> None:
    first, second = RecordedGrams(2), RecordedGrams(2)
    first.learn(0, [Gram(np.eye(2), np.ones(2), 2.0, 3.0)])
    second.load_state(first.state())
    assert second.grams[0].size == 3.0
    np.testing.assert_array_equal(best_weights(first), best_weights(second))


def test_second_pass_has_the_weights_of_the_first_and_they_are_fixed() -> None:
    hindsight = named("hindsight", UpdateConfig(weighing="hindsight"))
    decided = in_hindsight(data, toy_schema(), hindsight)
    assert decided.update is not None
    assert decided.update.weighing == "fixed"
    assert not np.allclose(decided.update.fixed, 1 / 3, atol=1e-3)
    fixed = named("fixed", UpdateConfig(weighing="fixed", fixed=decided.update.fixed))
    result = evaluate(data, toy_schema(), [hindsight, fixed])
    assert result.recipes[0].seeds[0].scores == result.recipes[1].seeds[0].scores


def test_it_knows_the_future() -> None:
    """Periods whose scores depend on no later label for the batch window depend on them here."""
    of_name = {}
    weighings: tuple[Weighing, ...] = ("hindsight", "uniform")
    for weighing in weighings:
        config = named(weighing, UpdateConfig(weighing=weighing))
        of_name[weighing] = [losses(config, flip_from) for flip_from in (80, IMPRESSIONS)]
    untouched = of_name["uniform"][0] == of_name["uniform"][1]
    assert untouched.sum() > 10
    assert (of_name["hindsight"][0] != of_name["hindsight"][1])[untouched].any()


def losses(config: RecipeConfig, flip_from: int) -> Array:
    """Log loss by period."""
    result = evaluate(lambda: data(flip_from), toy_schema(), [config]).recipes[0]
    return np.array([period["log_loss"] for period in result.per_period()])


def test_first_pass_has_the_counters_too() -> None:
    hindsight = replace(named("hindsight", UpdateConfig(weighing="hindsight")), batch_size=12)
    assert evaluate(data, counted_schema(), [hindsight]).recipes[0].seeds[0].scores.examples == 3 * IMPRESSIONS


def test_training_with_it_is_refused_and_so_is_a_live_form() -> None:
    with pytest.raises(InputError, match="beforehand"):
        check_trainable(recipe("hindsight-3"))
    with pytest.raises(InputError, match="whole rounds only"):
        recipe("hindsight-3-live")

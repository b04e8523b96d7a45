"""Weights below 0: how much of them there may be, how far they climb, and that a trend is still carried on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from streams.contract.errors import InputError
from tests.support.toy_examples import toy_batch, toy_recipe, toy_schema
from trainer.admission import AdmissionConfig
from trainer.future.ascent import log_odds, within_reach
from trainer.future.config import GeneratorConfig, UpdateConfig
from trainer.future.generator import LearnedWeights, bounded
from trainer.future.gram import Floats, gram_of, relative
from trainer.future.mixers import newest_only
from trainer.future.window import mixed
from trainer.learner import Learner
from trainer.prepare import Preparer
from trainer.vocabulary import VocabularyConfig

B = 3


@pytest.mark.parametrize("most", [0.0, 0.25, 1.0])
def test_weights_below_zero_add_up_to_no_more_than_the_bound_and_all_to_one(most: float) -> None:
    random = np.random.default_rng(0)
    for b in (1, 2, 3, 5):
        for scale in (0.1, 1.0, 30.0):
            drawn = scale * random.normal(size=b)
            weights = torch.from_numpy(drawn - drawn.mean() + 1 / b)
            held = bounded(weights, most)
            negative = float(held.clamp(max=0).sum())
            assert float(held.sum()) == pytest.approx(1.0)
            assert negative >= -most - 1e-9
            if float(weights.clamp(max=0).sum()) < -most:
                assert negative == pytest.approx(-most, abs=1e-9), "no further than the bound asks"
            else:
                torch.testing.assert_close(held, weights)


def test_trend_of_two_rounds_stands_at_the_bound_and_stays_exact() -> None:
    trend = torch.tensor([2.0, -1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(bounded(trend, 1.0), trend)
    away = trend - 1 / B
    # Below uniform lie -4/3 and -1/3: 0.25 below 0 is left of the first where it is drawn to 7/16 of that.
    torch.testing.assert_close(bounded(trend, 0.25), 1 / B + 7 / 16 * away)


def trend_generator(max_negative: float) -> LearnedWeights:
    config = GeneratorConfig(buckets=8, ridge=0.0, max_negative=max_negative)
    return LearnedWeights(B, 1, config, softmax=False, seed=0)


def test_learnt_weights_carry_a_trend_on_exactly_and_keep_to_a_tighter_bound() -> None:
    newest, older = np.random.default_rng(0).normal(size=(2, 40)).astype(np.float32)
    whole = np.stack([newest, older, np.random.default_rng(1).normal(size=40).astype(np.float32), 2 * newest - older])
    (gram,) = relative([gram_of(np.stack([whole, whole], axis=1))])
    free, tight = trend_generator(1.0), trend_generator(0.25)
    for t in range(400):
        free.learn(t, [gram])
        tight.learn(t, [gram])
    np.testing.assert_allclose(free.weights(400), [2, -1, 0], atol=0.01)
    assert np.minimum(tight.weights(400), 0).sum() == pytest.approx(-0.25, abs=1e-5)
    assert gram.loss(tight.weights(400)) < gram.loss(newest_only(B).weights(0))


def test_trending_centres_are_foretold_where_the_newest_is_always_behind() -> None:
    """r_t = |theta - c_t|^2 / 2, c_t a line: what the mix of gradients is solved for is the mix of centres."""
    random = np.random.default_rng(2)
    step: Floats = random.normal(size=8)
    mixer = trend_generator(1.0)
    behind: list[float] = []
    foretold: list[float] = []
    for t in range(B, 300):
        centres = np.stack([(t - 1 - i) * step for i in range(B)])
        for errors, weights in ((behind, newest_only(B).weights(t)), (foretold, mixer.weights(t))):
            errors.append(float(np.square(weights @ centres - t * step).sum()))
        theta = mixer.weights(t) @ centres
        gradients = (theta - np.concatenate([centres, [t * step]])).astype(np.float32)
        mixer.learn(t, relative([gram_of(np.stack([gradients, gradients], axis=1))]))
    assert np.mean(foretold[-50:]) < 0.01 * np.mean(behind[-50:])


def test_ascent_descends_what_is_bounded_below() -> None:
    """The gradient is that of shares * losses, those with a share below 0 held at the bound of their label."""
    random = np.random.default_rng(4)
    logits = torch.from_numpy(4 * random.normal(size=200)).requires_grad_()
    label = torch.from_numpy((random.random(200) < 0.2).astype(np.float64))
    share, reach = torch.from_numpy(random.normal(size=200)), 2.0
    base = log_odds(label)
    losses = binary_cross_entropy_with_logits(logits, label, reduction="none")
    most = torch.where(label > 0.5, softplus(reach - base), softplus(base + reach))
    held = torch.where(share < 0, torch.minimum(losses, most), losses)
    (due,) = torch.autograd.grad((share * held).sum(), logits)
    weight = within_reach(logits.detach(), label, share, reach)
    (got,) = torch.autograd.grad(
        (weight * binary_cross_entropy_with_logits(logits, label, reduction="none")).sum(), logits
    )
    torch.testing.assert_close(got, due)
    assert 10 < int(((weight == 0) & (share < 0)).sum()) < int((share < 0).sum()) - 10


def test_log_odds_are_those_of_the_mean_label_and_finite_without_positives() -> None:
    label = torch.zeros(10_000)
    assert torch.isfinite(log_odds(label))
    label[:2000] = 1
    assert log_odds(label).item() == pytest.approx(np.log(0.2 / 0.8), abs=1e-3)


def test_old_round_with_a_negative_weight_is_climbed_without_end_unless_bounded() -> None:
    """The same two chunks over and over, the older to be unlearnt at -1: with a reach its loss stays within bounds."""
    losses = {}
    for reach in (1e9, 2.0):
        update = UpdateConfig(weighing="fixed", fixed=(2.0, -1.0), num_rounds=2, reach=reach)
        every_id = VocabularyConfig(admission=AdmissionConfig(admit_after=1))
        tables = replace(toy_recipe().tables, capacity=1000, learning_rate=0.1)
        learner = Learner(toy_schema(), toy_recipe(update=update, tables=tables, vocabulary=every_id))
        prepare, chunks = Preparer(learner.schema), [toy_batch(16, start=0), toy_batch(16, start=16)]
        for _ in range(150):
            examples, share = mixed(chunks, np.array(update.fixed))
            learner.learn_shares(prepare(examples), share)
        logits = torch.from_numpy(learner.predict(prepare(chunks[1])))
        losses[reach] = binary_cross_entropy_with_logits(logits, torch.tensor(chunks[1].label)).item()
    assert losses[1e9] > 10
    assert losses[2.0] < 3


@pytest.mark.parametrize(("field", "value"), [("reach", 0.0), ("max_negative", -0.1)])
def test_impossible_bounds_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(InputError, match=field):
        GeneratorConfig(max_negative=value) if field == "max_negative" else UpdateConfig(reach=value)

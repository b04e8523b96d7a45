"""Learning a part of the negatives: which part, and that probabilities stay those of all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from streams.contract.errors import InputError
from streams.contract.events import Feedback, Impression
from streams.datasets.observed import Observed
from tests.support.saved_learners import assert_bit_identical, hand_over
from tests.support.toy_examples import START_MS, toy_batch, toy_recipe, toy_schema
from trainer.batch import RowBatch, part_of
from trainer.downsampling import DownsamplingConfig, kept
from trainer.evaluate import evaluate
from trainer.learner import Learner
from trainer.prepare import Preparer

TENTH = DownsamplingConfig(keep_negatives=0.1)


def learner(seed: int = 0, **changes: object) -> Learner:
    torch.manual_seed(seed)
    return Learner(toy_schema(), toy_recipe(downsampling=TENTH, **changes))


def test_every_positive_and_about_a_tenth_of_the_negatives_are_kept() -> None:
    examples = toy_batch(5000)
    chosen = kept(examples, TENTH)
    negatives = examples.label < 0.5
    assert set(np.flatnonzero(~negatives)) <= set(chosen.tolist())
    share = negatives[chosen].sum() / negatives.sum()
    assert abs(share - 0.1) < 4 * np.sqrt(0.09 / negatives.sum())


def test_choice_depends_on_impression_and_ad_alone() -> None:
    examples = toy_batch(400)
    whole = kept(examples, TENTH)
    parts = [kept(examples.slice(start, start + 64), TENTH) + start for start in range(0, len(examples), 64)]
    assert whole.tolist() == np.concatenate(parts).tolist()


def test_larger_share_keeps_all_that_a_smaller_one_keeps() -> None:
    examples = toy_batch(400)
    half, all_of_it = (kept(examples, DownsamplingConfig(keep_negatives=share)) for share in (0.5, 1.0))
    assert set(kept(examples, TENTH)) < set(half) < set(all_of_it)
    assert len(all_of_it) == len(examples)


def test_shift_is_the_published_correction() -> None:
    logit = np.linspace(-8, 8, 33)
    q = 1 / (1 + np.exp(-(logit + TENTH.logit_shift)))
    np.testing.assert_allclose(q / (q + (1 - q) / 0.1), 1 / (1 + np.exp(-logit)), rtol=1e-12)


def test_part_of_a_batch_scores_as_it_does_within_the_whole() -> None:
    model, prepare = learner(), Preparer(toy_schema())
    model.learn(prepare(toy_batch(200)))
    batches: list[RowBatch] = []
    learnable = prepare(toy_batch(60, start=200))
    batches.append(model._rows(learnable.features, learnable.seen, 0))
    chosen = np.array([0, 3, 17, 18, 100, 239])
    with torch.no_grad():
        whole, part = model._forward(batches[0]), model._forward(part_of(batches[0], chosen))
    torch.testing.assert_close(part, whole[chosen], atol=1e-6, rtol=1e-5)


def test_scores_are_over_all_examples() -> None:
    model = learner()
    scored = model.learn(Preparer(toy_schema())(toy_batch(100)))
    assert len(scored.logit) == model.progressive.lifetime.scores().examples == 400


def test_batch_of_dropped_negatives_alone_changes_no_weight() -> None:
    model, prepare = learner(), Preparer(toy_schema())
    examples = toy_batch(40)
    nothing = replace(examples, label=np.zeros(len(examples), dtype=np.float32))
    dropped = np.setdiff1d(np.arange(len(nothing)), kept(nothing, TENTH))
    alone = nothing.slice(int(dropped[0]), int(dropped[0]) + 1)
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    model.learn(prepare(alone))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.network.state_dict().items())
    assert model.counters.examples == 1


def test_stopped_and_resumed_learner_ends_bit_identical() -> None:
    prepare = Preparer(toy_schema())
    batches = [toy_batch(40, start=40 * n) for n in range(12)]
    straight, first = learner(), learner()
    for batch in batches:
        straight.learn(prepare(batch))
    for batch in batches[:5]:
        first.learn(prepare(batch))
    second = learner(seed=3)
    hand_over(first, second)
    for batch in batches[5:]:
        second.learn(prepare(batch))
    assert_bit_identical(straight, second, but=("random",))


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5, float("nan")])
def test_share_outside_its_bounds_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="keep_negatives"):
        DownsamplingConfig(keep_negatives=share)


def rare_clicks(num_impressions: int) -> Iterator[Observed]:
    """Every impression shows three ads with click rates of 1, 3 and 6 %, which is all there is to learn."""
    rng, ads = np.random.default_rng(0), [1, 2, 3]
    for number in range(num_impressions):
        clicked = rng.random(3) < [0.01, 0.03, 0.06]
        impression = Impression(
            event_id=f"i{number}", event_time_ms=START_MS + 60_000 * number, session_id=str(number), unit_id="u",
            ad_ids=[str(ad) for ad in ads], candidates={"ad": list(ads)}, ingest_ms=START_MS,
        )  # fmt: skip
        yield Observed(impression, [
            Feedback(event_id=f"f{number}-{ad}", event_time_ms=impression.event_time_ms + 500,
                     session_id=str(number), impression_id=impression.event_id, ad_id=str(ad))
            for ad, click in zip(ads, clicked, strict=True) if click
        ])  # fmt: skip


def test_a_tenth_of_the_negatives_of_rare_clicks_changes_neither_entropy_nor_calibration() -> None:
    recipes = [toy_recipe(name="all"), toy_recipe(name="tenth", downsampling=TENTH)]
    evaluation = evaluate(lambda: rare_clicks(12_000), toy_schema(), recipes, seeds=(1, 2, 3))
    (paired,) = evaluation.paired
    assert -0.005 < paired.ci95[0] < paired.ci95[1] < 0.005
    everything, tenth = (recipe.mean("calibration") for recipe in evaluation.recipes)
    assert abs(tenth / everything - 1) < 0.01

"""Scores against their definitions, over windows, arms, corrections and restarts."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from streams.contract.errors import InputError
from streams.contract.examples import ExampleBatch
from tests.support.toy_examples import toy_batch
from trainer.progressive import OTHER_ARMS, Progressive, ProgressiveConfig
from trainer.tally import Scores, Tally, entropy, exact_auc, log_losses

Floats = npt.NDArray[np.float64]


def logits_of(batch: ExampleBatch, seed: int = 0) -> Floats:
    noise = np.random.default_rng(seed).normal(size=len(batch))
    logits: Floats = np.round(np.log(batch.true_probability / (1 - batch.true_probability)) + noise, 1)
    return logits


def auc_by_pairs(label: Floats, logit: Floats) -> float:
    """Every pair of a positive and a negative, counted one by one."""
    positive, negative = logit[label == 1], logit[label == 0]
    above = (positive[:, None] > negative[None, :]) + 0.5 * (positive[:, None] == negative[None, :])
    return float(above.mean())


def progressive(window: int = 10_000) -> Progressive:
    return Progressive(ProgressiveConfig(window=window))


def same(a: Scores, b: Scores) -> bool:
    return a.as_dict() == pytest.approx(b.as_dict(), rel=1e-12)


def test_scores_equal_their_definitions() -> None:
    batch = toy_batch(100)
    logit, label = logits_of(batch), batch.label.astype(np.float64)
    scored = progressive()
    losses = scored.add(batch, logit.astype(np.float32))
    probability, mean = 1 / (1 + np.exp(-logit)), label.mean()
    log_loss = -np.mean(label * np.log(probability) + (1 - label) * np.log(1 - probability))
    base = -(mean * np.log(mean) + (1 - mean) * np.log(1 - mean))
    for scores in (scored.lifetime.scores(), scored.window_scores()):
        assert scores.examples == 400
        assert scores.log_loss == pytest.approx(log_loss, rel=1e-6)
        assert scores.log_loss == pytest.approx(losses.mean(), rel=1e-12)
        assert scores.base_rate_log_loss == pytest.approx(base)
        assert scores.normalized_entropy == pytest.approx(log_loss / base, rel=1e-6)
        assert scores.calibration == pytest.approx(probability.mean() / mean, rel=1e-6)
        assert scores.auc == pytest.approx(auc_by_pairs(label, logit), abs=1e-9)


def test_exact_auc_counts_ties_half() -> None:
    label, logit = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.5, 0.5, 0.1, 0.9])
    assert exact_auc(label, logit, np.ones(4)) == pytest.approx(auc_by_pairs(label, logit)) == pytest.approx(0.875)


def test_histogram_auc_is_within_a_thousandth_of_the_exact_one() -> None:
    rng = np.random.default_rng(3)
    label = (rng.random(5000) < 0.2).astype(np.float64)
    logit = rng.normal(size=5000) * 2 + label
    tally, none = Tally(), np.full(5000, np.nan)
    tally.add(label, logit, np.ones(5000), log_losses(logit, label), none)
    assert tally.scores().auc == pytest.approx(exact_auc(label, logit, np.ones(5000)), abs=1e-3)


def test_weight_of_two_counts_as_the_example_twice() -> None:
    batch, logit = toy_batch(50), logits_of(toy_batch(50)).astype(np.float32)
    weighted, twice = progressive(), progressive()
    weighted.add(toy_batch(50, weight=np.full(200, 2, dtype=np.float32)), logit)
    twice.add(batch, logit)
    twice.add(batch, logit)
    a, b = weighted.window_scores().as_dict(), twice.window_scores().as_dict()
    assert {**a, "examples": 0} == pytest.approx({**b, "examples": 0})


def test_window_holds_the_newest_examples_only() -> None:
    scored, alone = progressive(window=250), progressive(window=250)
    batches = [toy_batch(25, start=100 * n) for n in range(5)]
    for batch in batches:
        scored.add(batch, logits_of(batch).astype(np.float32))
    half = batches[2].slice(50, 100)
    alone.add(half, logits_of(batches[2])[50:].astype(np.float32))
    for batch in batches[3:]:
        alone.add(batch, logits_of(batch).astype(np.float32))
    assert same(scored.window_scores(), alone.window_scores())
    assert scored.lifetime.scores().examples == 500
    newest = scored.newest()
    assert newest.label.tolist() == [*half.label, *batches[3].label, *batches[4].label]
    assert newest.served_version.tolist() == [7] * 250


def test_batch_larger_than_the_window_leaves_its_last_examples() -> None:
    scored, batch = progressive(window=30), toy_batch(25)
    scored.add(batch, logits_of(batch).astype(np.float32))
    assert scored.newest().label.tolist() == batch.label[-30:].tolist()


def test_correction_is_counted_apart_and_enters_no_score() -> None:
    correction = np.zeros(40, dtype=np.bool_)
    correction[::4] = True
    batch = toy_batch(10, correction=correction)
    scored = progressive()
    losses = scored.add(batch, logits_of(batch).astype(np.float32))
    assert scored.num_corrections == 10
    assert scored.lifetime.scores().examples == 30
    assert np.array_equal(np.isnan(losses), correction)


def test_batch_of_corrections_alone_leaves_scores_undefined() -> None:
    scored = progressive()
    scored.add(toy_batch(2, correction=np.ones(8, dtype=np.bool_)), np.zeros(8, dtype=np.float32))
    scores = scored.window_scores()
    assert scores.examples == 0
    assert math.isnan(scores.normalized_entropy)
    assert math.isnan(scores.auc)


def test_one_label_only_leaves_entropy_and_auc_undefined_and_calibration_infinite_or_nan() -> None:
    scored = progressive()
    scored.add(toy_batch(5, label=np.zeros(20, dtype=np.float32)), np.zeros(20, dtype=np.float32))
    scores = scored.window_scores()
    assert scores.log_loss == pytest.approx(math.log(2))
    assert scores.base_rate_log_loss == 0.0
    assert math.isnan(scores.normalized_entropy)
    assert math.isnan(scores.auc)


def test_arms_add_up_to_the_whole() -> None:
    scored, batch = progressive(), toy_batch(60)
    scored.add(batch, logits_of(batch).astype(np.float32))
    by_arm = scored.arm_scores()
    assert set(by_arm) == {"a", "b"}
    assert sum(scores.examples for scores in by_arm.values()) == 240
    window = scored.window_arm_scores()
    for arm, scores in by_arm.items():
        assert scores.log_loss == pytest.approx(window[arm].log_loss, rel=1e-6)


def test_many_arms_share_one_breakdown_beyond_the_most() -> None:
    scored, batch = progressive(), toy_batch(100, arm=[f"arm{n}" for n in range(100)])
    scored.add(batch, logits_of(batch).astype(np.float32))
    by_arm = scored.arm_scores()
    assert len(by_arm) == 64
    assert by_arm[OTHER_ARMS].examples == 4 * (100 - 63)


def test_bayes_log_loss_is_known_where_every_true_probability_is() -> None:
    batch = toy_batch(50)
    scored = progressive()
    scored.add(batch, logits_of(batch).astype(np.float32))
    p, y = batch.true_probability.astype(np.float64), batch.label
    assert scored.lifetime.scores().bayes_log_loss == pytest.approx(-np.mean(np.where(y > 0, np.log(p), np.log(1 - p))))
    scored.add(toy_batch(1, true_probability=np.full(4, np.nan, dtype=np.float32)), np.zeros(4, dtype=np.float32))
    assert math.isnan(scored.lifetime.scores().bayes_log_loss)


@pytest.mark.parametrize("window", [64, 4000])
def test_restored_scores_go_on_exactly_as_the_original(window: int) -> None:
    original, restored = progressive(window), progressive(window)
    batches = [toy_batch(20, start=50 * n) for n in range(8)]
    for batch in batches[:5]:
        original.add(batch, logits_of(batch).astype(np.float32))
    restored.load_state(*original.state())
    for batch in batches[5:]:
        original.add(batch, logits_of(batch).astype(np.float32))
        restored.add(batch, logits_of(batch).astype(np.float32))
    ours, theirs = original.state(), restored.state()
    assert ours[1] == theirs[1]
    assert all(np.array_equal(array, theirs[0][name], equal_nan=True) for name, array in ours[0].items())
    assert original.window_scores() == restored.window_scores()


def test_state_of_a_larger_window_keeps_the_newest() -> None:
    large, small, batch = progressive(100), progressive(30), toy_batch(20)
    large.add(batch, logits_of(batch).astype(np.float32))
    small.load_state(*large.state())
    assert small.newest().label.tolist() == batch.label[-30:].tolist()


def test_entropy_of_certain_labels_is_zero() -> None:
    assert entropy(0.0) == entropy(1.0) == 0.0
    assert entropy(0.5) == pytest.approx(math.log(2))


def test_window_of_no_example_raises_input_error() -> None:
    with pytest.raises(InputError, match="window"):
        ProgressiveConfig(window=0)

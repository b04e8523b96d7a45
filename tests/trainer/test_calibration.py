"""Online calibration: finds a distortion that is known, bends nothing without evidence, and is resumed bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.features import FeatureTransform
from tests.support.saved_learners import assert_bit_identical, hand_over
from tests.support.toy_examples import toy_batch, toy_recipe, toy_schema
from trainer.calibration import CalibrationConfig, OnlineCalibration
from trainer.learner import Learner
from trainer.prepare import Preparer, transform
from trainer.recipes import RecipeConfig
from trainer.reliability import Reliability

QUICK = CalibrationConfig(half_life_examples=20_000, refresh_examples=500, prior=5.0)
TO_FEATURES = FeatureTransform(toy_schema())


def sigmoid(logit: Array) -> Array:
    probability: Array = 1 / (1 + np.exp(-logit))
    return probability


def feed(calibration: OnlineCalibration, batches: int, *, by_segment: bool = False) -> tuple[Array, Array]:
    """Predictions too low, and too sure of themselves; (true probability, calibrated one) of the newest quarter."""
    rng, said, true = np.random.default_rng(0), [], []
    for number in range(batches):
        examples = toy_batch(250, start=250 * number)
        logit = rng.normal(-2.0, 1.2, len(examples))
        off = 0.6 * np.asarray(examples.request["user"])[examples.request_index] % 2 if by_segment else 0.0
        right = sigmoid(-0.4 + 0.8 * logit + off)
        label = (rng.random(len(examples)) < right).astype(np.float32)
        features, drawn = transform(examples, TO_FEATURES), logit.astype(np.float32)
        calibrated = calibration(features, drawn)
        calibration.learn(replace(examples, label=label), features, drawn, calibrated)
        if number >= 3 * batches // 4:
            said.append(sigmoid(calibrated))
            true.append(right)
    return np.concatenate(true), np.concatenate(said)


def calibrated_recipe(config: CalibrationConfig = QUICK) -> RecipeConfig:
    return toy_recipe(calibration=config)


def learner(config: CalibrationConfig = QUICK) -> Learner:
    return Learner(toy_schema(), calibrated_recipe(config))


def test_distortion_that_is_known_is_found() -> None:
    calibration = OnlineCalibration(replace(QUICK, half_life_examples=200_000, prior=50.0), toy_schema())
    true, said = feed(calibration, 120)
    deciles = np.array_split(np.argsort(said), 10)
    off = [abs(said[part].mean() / true[part].mean() - 1) for part in deciles]
    assert max(off) < 0.08
    scores = calibration.scores()
    assert scores["calibration_error"] < 0.2 * scores["calibration_error_before"]


def test_before_anything_is_known_the_map_is_the_identity() -> None:
    logit = np.linspace(-9, 9, 40).astype(np.float32)
    features = transform(toy_batch(10), TO_FEATURES)
    np.testing.assert_array_equal(OnlineCalibration(QUICK, toy_schema())(features, logit), logit)


def test_few_examples_hardly_bend_the_map() -> None:
    calibration = OnlineCalibration(replace(QUICK, prior=500.0, refresh_examples=1), toy_schema())
    examples, logit = toy_batch(10), np.linspace(-3, 0, 40).astype(np.float32)
    calibration.learn(examples, transform(examples, TO_FEATURES), logit, logit)
    assert calibration.map.shifts.any()
    assert np.abs(calibration.map.shifts).max() < 0.2


def test_map_rises_whatever_was_counted() -> None:
    rng = np.random.default_rng(1)
    calibration = OnlineCalibration(replace(QUICK, prior=0.01, refresh_examples=1), toy_schema())
    for number in range(20):
        examples = toy_batch(20, start=20 * number)
        logit = rng.normal(-2, 3, len(examples)).astype(np.float32)
        label = (rng.random(len(examples)) < 0.5).astype(np.float32)
        features = transform(examples, TO_FEATURES)
        calibration.learn(replace(examples, label=label), features, logit, calibration(features, logit))
        ordered = np.sort(rng.normal(-2, 4, 300)).astype(np.float32)
        assert (np.diff(calibration.map(ordered, np.zeros(300, dtype=np.int64))) >= 0).all()


def test_segment_with_its_own_distortion_is_told_apart_and_one_with_no_data_follows_all() -> None:
    config = replace(QUICK, segment="user", max_segments=4)
    calibration = OnlineCalibration(config, toy_schema())
    feed(calibration, 60, by_segment=True)
    assert len(calibration.map.segments) == 4
    assert calibration.map.segments.tolist() == sorted(calibration.map.segments.tolist())
    strange = calibration.map.rows_of(np.array([123456789]))
    assert strange.tolist() == [0]


def test_map_of_a_prediction_is_older_than_its_label() -> None:
    """Labels of a batch that are turned around change nothing in how the batch itself is scored."""
    prepare, first, second = Preparer(toy_schema()), learner(), learner()
    examples = toy_batch(200)
    turned = replace(examples, label=1.0 - examples.label)
    a, b = first.learn(prepare(examples)), second.learn(prepare(turned))
    np.testing.assert_array_equal(a.logit, b.logit)


def test_correction_adds_its_click_without_an_example() -> None:
    calibration = OnlineCalibration(QUICK, toy_schema())
    examples = toy_batch(5)
    late = replace(examples, correction=np.ones(len(examples), dtype=np.bool_),
                   label=np.ones(len(examples), dtype=np.float32))  # fmt: skip
    features, logit = transform(examples, TO_FEATURES), np.zeros(len(examples), dtype=np.float32)
    calibration.learn(late, features, logit, logit)
    examples_seen, clicks, predicted = calibration.state()["counts"][0].sum(axis=1)
    assert (examples_seen, clicks, predicted) == (0.0, pytest.approx(len(examples)), 0.0)
    assert calibration.after.sums.sum(axis=1)[:3].tolist() == [0.0, len(examples), 0.0]


def test_scores_window_and_predictions_are_the_calibrated_ones() -> None:
    model, prepare = learner(), Preparer(toy_schema())
    for number in range(30):
        model.learn(prepare(toy_batch(64, start=64 * number)))
    learnable = prepare(toy_batch(10, start=5000))
    assert model.calibration is not None
    served = model.predict(learnable)
    raw = model._forward(model.find(learnable)).detach().numpy()
    np.testing.assert_array_equal(served, model.calibration.map.of_batch(learnable.features, raw))
    assert not np.array_equal(served, raw)
    scored = model.learn(learnable)
    np.testing.assert_allclose(sigmoid(scored.logit), model.progressive.newest().probability[-40:], atol=1e-7)


@pytest.mark.parametrize("segment", [None, "user"])
def test_stopped_and_resumed_learner_ends_bit_identical(segment: str | None) -> None:
    config, prepare = replace(QUICK, segment=segment, max_segments=8), Preparer(toy_schema())
    batches = [toy_batch(50, start=50 * n) for n in range(14)]
    straight, first = learner(config), learner(config)
    for batch in batches:
        straight.learn(prepare(batch))
    for batch in batches[:6]:
        first.learn(prepare(batch))
    second = learner(config)
    hand_over(first, second)
    for batch in batches[6:]:
        second.learn(prepare(batch))
    assert_bit_identical(straight, second)


@pytest.mark.parametrize("segment", ["history", "ad", "nothing"])
def test_segment_that_is_no_single_value_of_the_request_is_refused(segment: str) -> None:
    with pytest.raises(InputError, match=r"calibration\.segment"):
        OnlineCalibration(replace(QUICK, segment=segment), toy_schema())


@pytest.mark.parametrize("changes", [{"prior": 0.0}, {"knots": 1}, {"half_life_examples": 0}, {"lowest": 4.0}])
def test_setting_that_cannot_be_is_refused_by_name(changes: dict[str, float]) -> None:
    with pytest.raises(InputError, match="calibration"):
        CalibrationConfig(**changes)  # type: ignore[arg-type]


def test_deciles_hold_equal_masses_and_their_own_means() -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(-2, 1, 50_000)
    true = sigmoid(logit)
    label = (rng.random(50_000) < true).astype(np.float64)
    reliability = Reliability()
    reliability.add(label, logit, np.ones(50_000), true)
    deciles = reliability.deciles()
    assert [round(decile.weight / 50_000, 1) for decile in deciles] == [0.1] * 10
    assert all(decile.calibration == pytest.approx(1.0, abs=1e-9) for decile in deciles)
    assert reliability.expected_error() < 0.01


def test_nothing_scored_has_no_deciles() -> None:
    assert Reliability().deciles() == []
    assert np.isnan(Reliability().expected_error())

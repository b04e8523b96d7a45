"""Each reason not to publish, and that noise is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from streams.contract.columns import Array
from streams.contract.manifest import Rows
from streams.versions.delta import Delta, WindowScores
from streams.versions.verdict import GateResult, LiveView, Norms
from tests.support.deltas import delta, window
from tests.support.generations import SCHEMA, generation, rows
from tests.support.small_model import schema_of
from trainer.gate import GateConfig, check
from trainer.model.dlrm import DlrmConfig
from trainer.model.network import build_network, network_state

LIVE = LiveView(version=3, generation=1, norms=Norms(row=2.0, dense=3.0))


def _check(candidate: Delta, *, live: LiveView | None = LIVE, encoding: str = "fp32",
           config: GateConfig | None = None, feature_hash: str = SCHEMA.hash) -> GateResult:  # fmt: skip
    return check(candidate, live, feature_hash, generation(encoding=encoding), config)


def _codes(result: GateResult) -> list[str]:
    return [reason.code for reason in result.reasons]


def _with_predictions(scores: WindowScores, probability: Array) -> WindowScores:
    return replace(scores, probability=probability.astype(np.float32))


def test_sound_delta_passes_and_says_what_was_measured() -> None:
    result = _check(delta(500, rows={"ad": rows([1, 2], 1.0)}, scores=window(served_noise=0.1)))
    assert result.passed
    assert 0.5 < result.measured["normalized_entropy"] < 1.0
    assert result.measured["compared_examples"] == 2000
    assert result.norms.row == pytest.approx(2.0)
    assert result.as_dict()["reasons"] == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_row_is_refused_naming_its_table(bad: float) -> None:
    result = _check(delta(1, rows={"ad": rows([1]), "campaign": rows([1, 2], bad)}))
    assert _codes(result)[0] == "non_finite"
    assert "2 rows of table campaign" in result.reasons[0].message


def test_non_finite_dense_parameter_is_refused_naming_it() -> None:
    result = _check(delta(1, dense={"weight": np.array([1.0, np.nan, np.inf], np.float32)}))
    assert "non_finite" in _codes(result)
    assert "2 values of the dense parameter weight" in result.reasons[0].message


def test_non_finite_prediction_is_refused() -> None:
    scores = window()
    probability = scores.probability.copy()
    probability[7] = np.nan
    assert _codes(_check(delta(1, scores=_with_predictions(scores, probability)))) == ["non_finite"]


def test_row_beyond_fp16_is_refused_where_rows_are_fp16_only() -> None:
    large = delta(1, rows={"ad": rows([1], 70_000.0)})
    assert _check(large, live=None).passed
    assert _codes(_check(large, live=None, encoding="fp16")) == ["non_finite"]


def test_window_with_too_few_examples_is_refused() -> None:
    result = _check(delta(1, scores=window(100)))
    assert _codes(result) == ["too_few_examples"]
    assert (result.reasons[0].measured, result.reasons[0].bound) == (100, 256)


def test_other_feature_hash_is_refused_naming_both() -> None:
    result = _check(delta(1), feature_hash="0123456789abcdef")
    assert _codes(result) == ["feature_hash"]
    assert SCHEMA.hash in result.reasons[0].message
    assert "0123456789abcdef" in result.reasons[0].message


def test_clearly_worse_than_what_was_served_is_refused() -> None:
    scores = window(5000, noise=1.5, served_noise=0.1)
    result = _check(delta(1, scores=scores))
    assert "entropy_worse" in _codes(result)
    reason = next(reason for reason in result.reasons if reason.code == "entropy_worse")
    assert reason.measured > reason.bound > 0.01


def test_worse_than_served_on_few_examples_is_not_judged() -> None:
    scores = window(5000, noise=1.5, served_noise=0.1)
    served = scores.served_probability.copy()
    served[900:] = np.nan
    result = _check(delta(1, scores=replace(scores, served_probability=served)))
    assert "entropy_worse" not in _codes(result)
    assert result.measured["compared_examples"] == 900


def test_equally_good_models_pass_in_every_of_two_hundred_windows() -> None:
    refused = [
        seed for seed in range(200)
        if not _check(delta(500, scores=window(1500, seed=seed, noise=0.3, served_noise=0.3))).passed
    ]  # fmt: skip
    assert refused == []


def test_no_better_than_the_base_rate_is_refused_after_warm_up_only() -> None:
    scores = window(4000, noise=0.1)
    shuffled = np.random.default_rng(1).permutation(scores.probability)
    blind = _with_predictions(scores, shuffled)
    assert _codes(_check(delta(500, scores=blind))) == ["entropy_no_better_than_base"]
    assert _check(delta(100, scores=blind)).passed


@pytest.mark.parametrize("factor", [0.2, 3.0])
def test_calibration_out_of_bounds_is_refused(factor: float) -> None:
    scores = window(4000)
    off = _with_predictions(scores, np.clip(scores.probability * factor, 0, 1) if factor < 1 else
                            1 - (1 - scores.probability) / 6)  # fmt: skip
    assert "calibration" in _codes(_check(delta(1, scores=off)))


def test_calibration_is_not_judged_by_a_handful_of_positives() -> None:
    label = np.zeros(1000, dtype=np.float32)
    label[:2] = 1
    scores = WindowScores(label=label, probability=np.full(1000, 0.005, np.float32),
                          served_probability=np.full(1000, np.nan, np.float32),
                          served_version=np.zeros(1000, np.int64))  # fmt: skip
    assert _check(delta(1, scores=scores)).passed


def test_predictions_above_zero_where_nothing_happened_are_refused() -> None:
    zeros = np.zeros(1000, dtype=np.float32)
    scores = WindowScores(label=zeros, probability=zeros + 0.5, served_probability=zeros + np.nan,
                          served_version=np.zeros(1000, np.int64))  # fmt: skip
    assert _codes(_check(delta(1, scores=scores))) == ["calibration"]


def test_exploding_row_is_refused_and_a_growing_one_is_not() -> None:
    assert _check(delta(1, rows={"ad": rows([1], 9.0)})).passed
    result = _check(delta(1, rows={"ad": rows([1, 2], 11.0), "user": rows([1], 0.1)}))
    assert _codes(result) == ["row_norm"]
    assert (result.reasons[0].measured, result.reasons[0].bound) == (22.0, 20.0)


def test_exploding_dense_network_is_refused_even_where_its_square_overflows() -> None:
    result = _check(delta(1, dense={"weight": np.array([3e38], np.float32)}))
    assert _codes(result) == ["dense_norm"]
    assert result.norms.dense == pytest.approx(3e38)


def test_a_hundred_times_the_rows_behind_the_scaling_of_dense_values_are_no_growth() -> None:
    schema = schema_of(request_keys=1, candidate_keys=1, request_dense=2, candidate_dense=2, dim=4)
    network = build_network(schema, DlrmConfig(bottom=(4,), top=(4,), scaled=True))
    network.see(*torch.ones(2, 300, 2))
    first = _check(delta(1, dense={name: x.copy() for name, x in network_state(network).items()}), live=None)
    for value in range(100):
        network.see(*torch.full((2, 300, 2), 100.0 * value))
    later = _check(delta(2, dense=network_state(network)), live=LiveView(1, 1, first.norms))
    assert later.passed
    assert later.norms.dense == first.norms.dense > 0


def test_first_version_has_no_norm_to_compare_with() -> None:
    assert _check(delta(1, rows={"ad": rows([1], 1e6)}), live=None).passed


def test_norm_scale_keeps_the_largest_and_forgets_slowly() -> None:
    assert Norms(10.0, 1.0).after(Norms(5.0, 2.0)) == Norms(9.9, 2.0)


def test_all_reasons_are_given_at_once() -> None:
    bad = delta(500, rows={"ad": Rows(np.array([1]), np.full((1, 4), 1e9, np.float32))}, scores=window(10),
                dense={"weight": np.full(3, np.nan, np.float32)})  # fmt: skip
    result = _check(bad, feature_hash="other")
    assert {"feature_hash", "non_finite", "too_few_examples", "row_norm"} <= set(_codes(result))
    assert result.as_dict()["dense_norm"] == "nan"

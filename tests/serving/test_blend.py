"""Two models' opinions as one score."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from serving.gateway.blend import BlendConfig, blended
from streams.contract.errors import InputError


def test_scores_are_the_weighted_sum_of_log_odds_and_centred_log_probability() -> None:
    config = BlendConfig(ctr_weight=2.0, generative_weight=0.5, offset=1.0)
    scores = blended(config, np.array([-1.0, -3.0]), np.array([0.25, 0.5], dtype=np.float32))
    assert scores == pytest.approx([2 * math.log(0.25 / 0.75) + 0.5 * 1 + 1, 0.5 * -1 + 1], abs=1e-6)
    assert scores.dtype == np.float32


def test_by_default_odds_of_a_click_and_of_the_next_like_count_alike() -> None:
    scores = blended(BlendConfig(), np.array([-4.0, -4.0 - math.log(3), -5.0]), np.array([0.25, 0.5, 0.5]))
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    assert scores[2] > scores[1]


def test_with_a_small_weight_the_click_probability_decides_and_the_recommender_breaks_ties() -> None:
    config = BlendConfig(generative_weight=0.01)
    scores = blended(config, np.array([-9.0, -1.0, -2.0]), np.array([0.2, 0.1, 0.1]))
    assert np.argsort(-scores).tolist() == [0, 1, 2]


def test_level_of_the_recommenders_probabilities_does_not_matter() -> None:
    rates = np.array([0.1, 0.2, 0.3])
    first, second = (blended(BlendConfig(), np.array([-1.0, -2.0, -4.0]) - level, rates) for level in (0, 7))
    assert first == pytest.approx(second, abs=1e-6)


def test_certain_probabilities_give_finite_scores_and_no_items_none() -> None:
    assert np.isfinite(blended(BlendConfig(), np.array([-1.0, -1.0]), np.array([0.0, 1.0]))).all()
    assert blended(BlendConfig(), np.zeros(0), np.zeros(0)).shape == (0,)


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_retrieved", 0), ("num_retrieved", 1001), ("ctr_weight", -1.0), ("generative_weight", math.inf),
     ("generative_weight", math.nan)],
)  # fmt: skip
def test_setting_that_cannot_be_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=name):
        BlendConfig(**{name: value})

"""Click delays."""

from __future__ import annotations

import numpy as np
import pytest

from streams.simulator.delays import DelayConfig, draw_delays_ms
from streams.simulator.presets import market_preset


@pytest.mark.parametrize("seconds", [1.0, 10.0, 60.0, 600.0, 3_600.0, 36_000.0])
def test_share_of_delays_beyond_a_time_is_what_the_config_computes(seconds: float) -> None:
    config = market_preset("delayed").click_delay
    delays_ms = draw_delays_ms(config, np.random.default_rng(0), 200_000)
    expected = config.share_beyond(seconds)
    assert (delays_ms > 1_000 * seconds).mean() == pytest.approx(expected, abs=4 * (expected / 200_000) ** 0.5)


def test_tail_is_heavier_than_exponential() -> None:
    delays_ms = draw_delays_ms(DelayConfig(), np.random.default_rng(0), 200_000)
    median, far = np.percentile(delays_ms, [50, 99.5])
    exponential = np.log(200) / np.log(2)
    assert far / median > 10 * exponential


def test_delayed_preset_has_conversions_beyond_a_day_and_clicks_beyond_ten_minutes() -> None:
    config = market_preset("delayed")
    assert config.conversion is not None
    assert config.conversion.delay.share_beyond(86_400) > 0.05
    assert config.click_delay.share_beyond(600) > 0.2
    assert market_preset("small").click_delay.share_beyond(600) < 0.01


def test_delays_are_at_least_a_millisecond() -> None:
    config = DelayConfig(fast_mean_seconds=1e-6, slow_share=0.0)
    assert (draw_delays_ms(config, np.random.default_rng(0), 100) == 1).all()

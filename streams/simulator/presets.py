"""Named ad markets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from streams.contract.errors import InputError
from streams.datasets.observed import Observed
from streams.datasets.options import DatasetOptions
from streams.simulator.config import ConversionConfig, MarketConfig
from streams.simulator.criteo_shaped import criteo_shaped_observations
from streams.simulator.delays import DelayConfig
from streams.simulator.observations import observations

CRITEO_PRESET = "criteo"
_CRITEO_IMPRESSIONS = 100_000


def small() -> MarketConfig:
    """Two hours, 100 ads at a time, 20,000 impressions: a laptop learns it in a minute."""
    return MarketConfig()


def drift() -> MarketConfig:
    """Four hours in which weights drift fast, and jump after 80 and 160 minutes."""
    return MarketConfig(
        name="drift",
        num_impressions=100_000,
        sessions_per_epoch=100.0,
        campaign_lifetime_minutes=120.0,
        drift_per_hour=0.4,
        jumps_after_minutes=(80, 160),
    )


def sessions() -> MarketConfig:
    """Long sessions with long histories: what belongs to the request repeats much. Lower places are clicked less."""
    return MarketConfig(
        name="sessions",
        num_impressions=50_000,
        sessions_per_epoch=10.0,
        impressions_per_session=25.0,
        history_length=50,
        position_bias=-0.15,
    )


def delayed() -> MarketConfig:
    """Clicks of which a part is heard of after half an hour or more, conversions after many hours."""
    return MarketConfig(
        name="delayed",
        num_impressions=50_000,
        click_delay=DelayConfig(fast_mean_seconds=10.0, slow_share=0.3, slow_median_seconds=1_800.0, slow_sigma=1.5),
        conversion=ConversionConfig(
            share_of_clicks=0.25,
            delay=DelayConfig(fast_mean_seconds=600.0, slow_share=0.7, slow_median_seconds=6 * 3_600.0, slow_sigma=1.2),
        ),
    )


def large() -> MarketConfig:
    """A million users and 2,000 ads at a time, five million impressions."""
    return MarketConfig(
        name="large",
        num_impressions=5_000_000,
        num_users=1_000_000,
        num_segments=32,
        latent_dim=8,
        sessions_per_epoch=1_000.0,
        num_campaigns=200,
        ads_per_campaign=10,
        campaign_lifetime_minutes=480.0,
        jumps_after_minutes=(360, 720),
    )


PRESETS: dict[str, Callable[[], MarketConfig]] = {
    preset.__name__: preset for preset in (small, drift, sessions, delayed, large)
}


def market_preset(name: str) -> MarketConfig:
    """The market of that name. Raises InputError for another."""
    if name not in PRESETS:
        raise InputError("there is no such preset", field="simulator", value=name,
                         remedy=f"use one of {', '.join((*PRESETS, CRITEO_PRESET))}")  # fmt: skip
    return PRESETS[name]()


def open_simulator(name: str, options: DatasetOptions) -> Iterator[Observed]:
    """The preset's observations with the options' seed, as many as they ask for or the preset has."""
    if name == CRITEO_PRESET:
        number = _CRITEO_IMPRESSIONS if options.max_impressions is None else options.max_impressions
        return criteo_shaped_observations(number, options.seed)
    config = replace(market_preset(name), seed=options.seed)
    if options.max_impressions is not None:
        config = replace(config, num_impressions=options.max_impressions)
    return observations(config)

"""Campaigns that come and go, and weights that drift and jump.

C campaign places, A = C * ads_per_campaign ads, G segments, K latent dimensions
"""

from __future__ import annotations

import math

import numpy as np

from streams.simulator.audience import NUM_DEVICES, Audience, Floats, Ints, latent_vectors, strongest_topics
from streams.simulator.config import MarketConfig

NUM_FORMATS = 4
_CALIBRATION_ROWS = 20_000


class Market:
    """The ads that run now, and what a click depends on now.

    Weights follow a stationary autoregressive walk (Ornstein-Uhlenbeck in steps of an epoch), so
    the mean click rate stays about where it is while what attracts whom changes.
    """

    def __init__(self, config: MarketConfig, rng: np.random.Generator) -> None:
        self._config = config
        places = config.num_campaigns
        self._num_campaigns_begun = places
        self.campaign = np.arange(places, dtype=np.int64)
        self.began_ms = np.full(places, config.start_ms, dtype=np.int64)
        # memoryless lifetimes: a campaign that is found running ends like one that has just begun
        self._ends_ms = config.start_ms + self._lifetimes_ms(rng, places)

        self.format = rng.integers(0, NUM_FORMATS, config.num_ads)
        self.quality = rng.normal(0.0, 1.0, config.num_ads)
        self.price = rng.lognormal(0.0, 0.5, config.num_ads)
        self.latent = latent_vectors(config, rng, config.num_ads)
        self.topics = strongest_topics(self.latent)

        self._segment_weight = rng.normal(0.0, config.segment_scale, (config.num_segments, places))
        self._ad_weight = rng.normal(0.0, config.ad_scale, config.num_ads)
        self._dense_weight = rng.normal(0.0, config.dense_scale, 2)
        self._device_weight = rng.normal(0.0, 0.2, NUM_DEVICES)
        self._intercept = 0.0

    def calibrate(self, audience: Audience, rng: np.random.Generator) -> None:
        """Sets the intercept at which the mean probability is `mean_ctr`, by bisection on random pairs."""
        config = self._config
        users = audience.draw(rng, _CALIBRATION_ROWS)
        ads = rng.integers(0, config.num_ads, _CALIBRATION_ROWS)
        devices = rng.integers(0, NUM_DEVICES, _CALIBRATION_ROWS)
        positions = rng.integers(0, max(1, (config.min_candidates + config.max_candidates) // 2), _CALIBRATION_ROWS)
        logits = self.logits(audience, users, ads, devices, positions)
        low, high = -20.0, 20.0
        for _ in range(50):
            self._intercept = (low + high) / 2
            too_many = probability(logits + self._intercept).mean() > config.mean_ctr
            low, high = (low, self._intercept) if too_many else (self._intercept, high)

    def logits(self, audience: Audience, users: Ints, ads: Ints, devices: Ints, positions: Ints) -> Floats:
        """The logit (E,) of a click of each user on each ad, all (E,), shown on a device at a position."""
        places = ads // self._config.ads_per_campaign
        by_taste: Floats = (audience.taste[users] * self.latent[ads]).sum(axis=1)
        youth = (49.0 - audience.age[users]) / 18.0
        logits: Floats = (
            self._intercept
            + self._segment_weight[audience.segment[users], places]
            + by_taste
            + self._ad_weight[ads]
            + self._dense_weight[0] * self.quality[ads]
            + self._dense_weight[1] * youth
            + self._device_weight[devices]
            + self._config.position_bias * positions
        )
        return logits

    def begin_epoch(self, rng: np.random.Generator, start_ms: int) -> None:
        """Moves the weights by one epoch's drift, jumps where it is time, and replaces campaigns that have ended."""
        config = self._config
        kept = math.sqrt(1.0 - config.drift_per_hour) ** (config.epoch_ms / 3_600_000)
        for weight, scale in self._drifting():
            weight *= kept
            weight += rng.normal(0.0, scale * math.sqrt(1.0 - kept**2), weight.shape)
        if start_ms in config.jump_times_ms:
            for weight, scale in self._drifting():
                redrawn = rng.random(weight.shape) < config.jump_share
                weight[redrawn] = rng.normal(0.0, scale, int(redrawn.sum()))
        for place in np.flatnonzero(self._ends_ms <= start_ms).tolist():
            self._replace(rng, place, start_ms)

    def _drifting(self) -> list[tuple[Floats, float]]:
        config = self._config
        return [
            (self._segment_weight, config.segment_scale),
            (self._ad_weight, config.ad_scale),
            (self._dense_weight, config.dense_scale),
        ]

    def _replace(self, rng: np.random.Generator, place: int, start_ms: int) -> None:
        config = self._config
        ads = slice(place * config.ads_per_campaign, (place + 1) * config.ads_per_campaign)
        number = config.ads_per_campaign
        self.campaign[place] = self._num_campaigns_begun
        self._num_campaigns_begun += 1
        self.began_ms[place] = start_ms
        self._ends_ms[place] = start_ms + self._lifetimes_ms(rng, 1)[0]
        self.format[ads] = rng.integers(0, NUM_FORMATS, number)
        self.quality[ads] = rng.normal(0.0, 1.0, number)
        self.price[ads] = rng.lognormal(0.0, 0.5, number)
        self.latent[ads] = latent_vectors(config, rng, number)
        self.topics[ads] = strongest_topics(self.latent[ads])
        self._segment_weight[:, place] = rng.normal(0.0, config.segment_scale, config.num_segments)
        self._ad_weight[ads] = rng.normal(0.0, config.ad_scale, number)

    def _lifetimes_ms(self, rng: np.random.Generator, number: int) -> Ints:
        minutes = rng.exponential(self._config.campaign_lifetime_minutes, number)
        return (np.maximum(1.0, minutes) * 60_000).astype(np.int64)


def probability(logits: Floats) -> Floats:
    """The logistic function."""
    result: Floats = 1.0 / (1.0 + np.exp(-logits))
    return result

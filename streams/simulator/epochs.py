"""One epoch of the market as arrays: who saw what, how likely a click was, what came of it.

S impressions, E candidates in all
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from streams.simulator.audience import Audience, Floats, Ints, Sessions, Visits
from streams.simulator.config import MarketConfig
from streams.simulator.delays import draw_delays_ms
from streams.simulator.market import Market, probability


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What happened in one epoch. `shown_index` (E,) leads from a candidate to its impression.

    Delays (E,) are from the impression; -1 where it did not happen.
    """

    start_ms: int
    visits: Visits
    shown_index: Ints
    ad: Ints
    position: Ints
    true_probability: Floats
    click_delay_ms: Ints
    conversion_delay_ms: Ints


class Simulation:
    """The market, its audience and their chance; the same seed gives the same epochs, however many are asked for."""

    def __init__(self, config: MarketConfig) -> None:
        self.config = config
        self._rng = np.random.default_rng(config.seed)
        self.audience = Audience(config, self._rng)
        self.market = Market(config, self._rng)
        self.market.calibrate(self.audience, self._rng)
        self._sessions = Sessions(config, self.audience)

    def epochs(self) -> Iterator[Epoch]:
        """Epochs without end. The market and audience are those of the epoch until the next one is asked for."""
        start_ms = self.config.start_ms
        while True:
            self.market.begin_epoch(self._rng, start_ms)
            epoch = self._epoch(start_ms)
            yield epoch
            self._remember_clicks(epoch)
            start_ms += self.config.epoch_ms

    def _epoch(self, start_ms: int) -> Epoch:
        rng, visits = self._rng, self._sessions.in_epoch(self._rng, start_ms)
        shown_index, ads, positions = self._candidates(len(visits))
        users, devices = visits.user[shown_index], visits.device[shown_index]
        true = probability(self.market.logits(self.audience, users, ads, devices, positions))
        clicked = rng.random(len(ads)) < true
        click_delay_ms = np.where(clicked, draw_delays_ms(self.config.click_delay, rng, len(ads)), -1)
        return Epoch(
            start_ms=start_ms,
            visits=visits,
            shown_index=shown_index,
            ad=ads,
            position=positions,
            true_probability=true,
            click_delay_ms=click_delay_ms,
            conversion_delay_ms=self._conversions(click_delay_ms),
        )

    def _candidates(self, number: int) -> tuple[Ints, Ints, Ints]:
        """(impression, ad, position) of each candidate, all (E,); an impression's ads differ, in random order."""
        config, rng = self.config, self._rng
        most = config.max_candidates
        lengths = rng.integers(config.min_candidates, most + 1, number)
        # ascending draws with gaps of at least one are distinct
        ascending = np.sort(rng.integers(0, config.num_ads - most + 1, (number, most)), axis=1) + np.arange(most)
        ads = rng.permuted(ascending, axis=1)
        kept = np.arange(most) < lengths[:, None]
        shown_index, positions = np.nonzero(kept)
        return shown_index, ads[kept], positions

    def _conversions(self, click_delay_ms: Ints) -> Ints:
        conversion, rng = self.config.conversion, self._rng
        none = np.full(len(click_delay_ms), -1, dtype=np.int64)
        if conversion is None:
            return none
        converted = (click_delay_ms >= 0) & (rng.random(len(none)) < conversion.share_of_clicks)
        return np.where(converted, click_delay_ms + draw_delays_ms(conversion.delay, rng, len(none)), none)

    def _remember_clicks(self, epoch: Epoch) -> None:
        clicked_ms = epoch.visits.time_ms[epoch.shown_index] + epoch.click_delay_ms
        # a click that is not heard of by the end of the epoch is left out of the history
        heard = (epoch.click_delay_ms >= 0) & (clicked_ms < epoch.start_ms + self.config.epoch_ms)
        rows = np.flatnonzero(heard)
        rows = rows[np.argsort(clicked_ms[rows], kind="stable")]
        places = epoch.ad[rows] // self.config.ads_per_campaign
        self.audience.remember(epoch.visits.user[epoch.shown_index[rows]], self.market.campaign[places])

"""Epochs of the market as impressions and feedback, features by name."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from streams.contract.events import Feedback, Impression, Value
from streams.datasets.clock import hour_of_day, weekday
from streams.datasets.observed import Observed
from streams.simulator.config import MarketConfig
from streams.simulator.epochs import Epoch, Simulation

DEVICES = ("phone", "tablet", "desktop")
FORMATS = ("banner", "native", "video", "text")


def observations(config: MarketConfig) -> Iterator[Observed]:
    """`config.num_impressions` impressions by time, with their feedback. Memory: one epoch and the audience."""
    simulation = Simulation(config)
    number = 0
    for epoch in simulation.epochs():
        rows = _Rows(simulation, epoch)
        for row in range(len(epoch.visits)):
            if number == config.num_impressions:
                return
            yield rows.observed(row, number)
            number += 1


class _Rows:
    """One epoch, its arrays as lists: Python reads those faster, one entry at a time."""

    def __init__(self, simulation: Simulation, epoch: Epoch) -> None:
        market, visits = simulation.market, epoch.visits
        self._simulation = simulation
        self._prefix = f"{simulation.config.name}-{simulation.config.seed}"
        self._time_ms = visits.time_ms.tolist()
        self._user = visits.user.tolist()
        self._session = visits.session.tolist()
        self._device = visits.device.tolist()
        self._depth = visits.depth.tolist()
        self._ends = np.searchsorted(epoch.shown_index, np.arange(len(visits)), side="right").tolist()
        place = epoch.ad // simulation.config.ads_per_campaign
        age_minutes = (visits.time_ms[epoch.shown_index] - market.began_ms[place]) / 60_000
        self._campaign: list[Value] = [f"c{campaign}" for campaign in market.campaign[place].tolist()]
        within = (epoch.ad % simulation.config.ads_per_campaign).tolist()
        self._ad = [f"{campaign}-{ad}" for campaign, ad in zip(self._campaign, within, strict=True)]
        self._columns: dict[str, list[Value]] = {
            "ad": [*self._ad],
            "campaign": self._campaign,
            "format": [FORMATS[f] for f in market.format[epoch.ad].tolist()],
            "topics": [_topic_names(topics) for topics in market.topics[epoch.ad].tolist()],
            "quality": market.quality[epoch.ad].tolist(),
            "price": market.price[epoch.ad].tolist(),
            "age_minutes": age_minutes.tolist(),
        }
        self._position = epoch.position.tolist()
        self._true = epoch.true_probability.tolist()
        self._click_delay_ms = epoch.click_delay_ms.tolist()
        self._conversion_delay_ms = epoch.conversion_delay_ms.tolist()

    def observed(self, row: int, number: int) -> Observed:
        """The epoch's impression `row`, the simulation's impression `number`."""
        start, end = self._ends[row - 1] if row else 0, self._ends[row]
        shown, time_ms = end - start, self._time_ms[row]
        impression = Impression(
            event_id=f"{self._prefix}-{number}",
            event_time_ms=time_ms,
            session_id=f"{self._prefix}-s{self._session[row]}",
            unit_id=f"u{self._user[row]}",
            ad_ids=self._ad[start:end],
            user=self._user_features(self._user[row]),
            context={
                "device": DEVICES[self._device[row]],
                "hour": hour_of_day(time_ms),
                "weekday": weekday(time_ms),
                "session_depth": self._depth[row],
            },
            candidates={name: column[start:end] for name, column in self._columns.items()},
            positions=self._position[start:end],
            # the order is random: each candidate stands at its position with the same probability
            propensities=[1.0 / shown] * shown,
            true_probabilities=self._true[start:end],
        )
        return Observed(impression, self._feedback(impression, start))

    def _user_features(self, user: int) -> dict[str, Value]:
        audience = self._simulation.audience
        history: Value = [f"c{campaign}" for campaign in audience.recent[user].tolist() if campaign >= 0]
        return {
            "user_id": f"u{user}",
            "segment": f"g{audience.segment[user]}",
            "interests": _topic_names(audience.interests[user].tolist()),
            "history": history,
            "age": float(audience.age[user]),
            "activity": float(audience.activity[user]),
        }

    def _feedback(self, impression: Impression, start: int) -> list[Feedback]:
        feedback = []
        for offset, ad_id in enumerate(impression.ad_ids):
            row = start + offset
            if self._click_delay_ms[row] >= 0:
                feedback.append(_feedback(impression, ad_id, "click", 1.0, self._click_delay_ms[row]))
            if self._conversion_delay_ms[row] >= 0:
                price = self._columns["price"][row]
                assert isinstance(price, float)
                feedback.append(_feedback(impression, ad_id, "conversion", price, self._conversion_delay_ms[row]))
        return feedback


def _feedback(impression: Impression, ad_id: str, kind: str, value: float, delay_ms: int) -> Feedback:
    return Feedback(
        event_id=f"{impression.event_id}-{ad_id}-{kind}",
        event_time_ms=impression.event_time_ms + delay_ms,
        session_id=impression.session_id,
        impression_id=impression.event_id,
        ad_id=ad_id,
        kind=kind,
        value=value,
        delay_ms=delay_ms,
    )


def _topic_names(topics: list[int]) -> list[str | int | float]:
    return [f"t{topic}" for topic in topics]

"""Users with tastes, and the sessions in which they come.

U users, K latent dimensions, H places of history, S impressions of an epoch
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streams.simulator.config import MarketConfig

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

NUM_DEVICES = 3
NUM_INTERESTS = 2


class Audience:
    """U users: segment (U,), taste (U, K), age (U,), activity (U,), interests (U, 2), recent campaigns (U, H)."""

    def __init__(self, config: MarketConfig, rng: np.random.Generator) -> None:
        users = config.num_users
        self.segment = rng.integers(0, config.num_segments, users)
        self.taste = latent_vectors(config, rng, users)
        self.age = rng.uniform(18.0, 80.0, users)
        self.activity = rng.lognormal(0.0, 1.0, users)
        self.interests = strongest_topics(self.taste)
        self.recent = np.full((users, config.history_length), -1, dtype=np.int64)
        self._cumulative_activity = np.cumsum(self.activity)

    def draw(self, rng: np.random.Generator, number: int) -> Ints:
        """Users (number,), each as likely as it is active."""
        points = rng.random(number) * self._cumulative_activity[-1]
        users: Ints = np.searchsorted(self._cumulative_activity, points).astype(np.int64)
        return users

    def remember(self, users: Ints, campaigns: Ints) -> None:
        """Puts the clicked campaigns (N,) at the end of the users' (N,) histories, one after the other."""
        for user, campaign in zip(users.tolist(), campaigns.tolist(), strict=True):
            self.recent[user, :-1] = self.recent[user, 1:]
            self.recent[user, -1] = campaign


def latent_vectors(config: MarketConfig, rng: np.random.Generator, number: int) -> Floats:
    """Vectors (number, K) such that the product of two has the standard deviation `latent_scale`."""
    scale = np.sqrt(config.latent_scale) / config.latent_dim**0.25
    return rng.normal(0.0, scale, (number, config.latent_dim))


def strongest_topics(latent: Floats) -> Ints:
    """(N, 2) topics of latent vectors (N, K): 2k where dimension k is strongly positive, 2k + 1 where negative."""
    strongest = np.argsort(-np.abs(latent), axis=1, kind="stable")[:, :NUM_INTERESTS]
    negative = np.take_along_axis(latent, strongest, axis=1) < 0
    return (2 * strongest + negative).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Visits:
    """S moments at which something is shown; all (S,). `depth` counts a session's impressions from 0."""

    time_ms: Ints
    user: Ints
    session: Ints
    device: Ints
    depth: Ints

    def __len__(self) -> int:
        return len(self.time_ms)

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Visits:
        return Visits(*(getattr(self, name)[rows] for name in self.__slots__))

    def plus(self, other: Visits) -> Visits:
        return Visits(*(np.concatenate([getattr(self, n), getattr(other, n)]) for n in self.__slots__))


class Sessions:
    """Sessions that begin in an epoch and may last into later ones. Memory: the visits yet to come."""

    def __init__(self, config: MarketConfig, audience: Audience) -> None:
        self._config = config
        self._audience = audience
        self._num_sessions = 0
        none = np.zeros(0, dtype=np.int64)
        self._later = Visits(none, none, none, none, none)

    def in_epoch(self, rng: np.random.Generator, start_ms: int) -> Visits:
        """The visits of the epoch that begins at `start_ms`, by time."""
        due = self._later.plus(self._begun(rng, start_ms))
        now = due.time_ms < start_ms + self._config.epoch_ms
        self._later = due.take(~now)
        visits = due.take(now)
        return visits.take(np.argsort(visits.time_ms, kind="stable"))

    def _begun(self, rng: np.random.Generator, start_ms: int) -> Visits:
        config = self._config
        number = int(rng.poisson(config.sessions_per_epoch))
        lengths = rng.geometric(1.0 / config.impressions_per_session, number)
        session = np.repeat(np.arange(number), lengths)
        first = np.cumsum(lengths) - lengths
        gaps_ms = rng.exponential(1000.0 * config.seconds_between_impressions, len(session))
        gaps_ms[first] = rng.uniform(0, config.epoch_ms, number)
        elapsed = np.cumsum(gaps_ms)
        before = np.repeat(elapsed[first] - gaps_ms[first], lengths)
        visits = Visits(
            time_ms=start_ms + (elapsed - before).astype(np.int64),
            user=self._audience.draw(rng, number)[session],
            session=self._num_sessions + session,
            device=rng.integers(0, NUM_DEVICES, number)[session],
            depth=np.arange(len(session)) - first[session],
        )
        self._num_sessions += number
        return visits

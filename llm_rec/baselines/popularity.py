"""The items most liked, the same for everyone; with a half-life, the items most liked of late."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llm_rec.interactions import Catalogue
from llm_rec.splits import Split
from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.values import Floats

DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class PopularityConfig:
    """After how many days a like counts half, back from the newest one learnt from; None: all count alike."""

    half_life_days: float | None = None


class Popularity:
    """Scores every item with its (decayed) number of likes."""

    def __init__(self, config: PopularityConfig) -> None:
        self._config = config
        self._counts = np.zeros(0, dtype=np.float32)

    @property
    def name(self) -> str:
        """`popularity`, or `recent-popularity` with a half-life."""
        return "popularity" if self._config.half_life_days is None else "recent-popularity"

    def fit(self, split: Split, catalogue: Catalogue, *, seed: int) -> None:
        """Counts. Raises InputError where likes are to be decayed and the split has no times."""
        items = np.concatenate([*split.train, np.zeros(0, dtype=np.int64)])
        self._counts = np.bincount(items, weights=self._weights(split), minlength=len(split.items)).astype(np.float32)

    def scores(self, users: Array, histories: list[Array]) -> Floats:
        """(B, J): a copy of the counts for each user."""
        return np.tile(self._counts, (len(users), 1))

    def _weights(self, split: Split) -> Array | None:
        if self._config.half_life_days is None:
            return None
        if split.train_time_ms is None:
            raise InputError("needs the time of each like, and the data tell an order alone", field="recommender",
                             value=self.name, remedy="use popularity")  # fmt: skip
        times = np.concatenate([*split.train_time_ms, np.zeros(0)])
        ages_days = (times.max(initial=0) - times) / DAY_MS
        weights: Array = 0.5 ** (ages_days / self._config.half_life_days)
        return weights

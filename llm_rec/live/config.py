"""Everything that decides what a continual recommender learns from a given log."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from streams.contract.errors import InputError
from streams.contract.recommender import MOST_ITEMS

MOST_USERS = 1 << 24
_LEAVE_OUT = "leave it out for the usual one"
LEARNING = ("all", "histories", "nothing")


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnConfig:
    """Rates are of Adagrad, whose sums begin at `first_sum`."""

    learning: Literal["all", "histories", "nothing"] = "all"
    """`histories`: likes enter histories, counts and the catalogue, and no row moves; `nothing`: they are looked at."""
    rate: float = 0.1
    """Of rows, in units of the root mean square of the fitted ones' entries: models differ in how wide they are."""
    first_sum: float = 1e-3
    bias_rate: float = 0.02
    """Of biases, in nats."""
    temperature_rate: float = 0.01
    """Of the logarithm of the temperature."""
    counts_move_bias: bool = True
    """Whether an item's bias follows its share of the decayed likes, where the model has a bias."""
    smoothing: float = 0.5
    """Likes that every item is counted to have besides its own, for the popularity model."""
    batch_size: int = 256
    """Examples a turn."""
    most_users: int = 100_000
    """Users with rows; beyond them the one not active for longest is evicted."""
    most_items: int = 200_000
    """Items with a number; further ones are left out and counted."""
    window: int = 2000
    """Likes of the newest window."""
    text_columns: tuple[str, ...] = ()
    """Candidate columns of which a new item's text is made; none named: all."""
    ridge: float = 100.0
    """How strongly the map from texts to embeddings is held to the mean embedding."""

    def __post_init__(self) -> None:
        if self.learning not in LEARNING:
            raise InputError("is none of them", field="learning", value=self.learning,
                             remedy=f"use one of {', '.join(LEARNING)}")  # fmt: skip
        for name in ("rate", "first_sum", "bias_rate", "temperature_rate", "smoothing", "ridge"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError("must be above 0 and finite", field=name, value=getattr(self, name),
                                 remedy=_LEAVE_OUT)  # fmt: skip
        for name in ("batch_size", "window"):
            if getattr(self, name) < 1:
                raise InputError("must be 1 or more", field=name, value=getattr(self, name), remedy=_LEAVE_OUT)
        if self.most_users < self.batch_size:
            raise InputError("is fewer than the examples of a turn, whose users would evict each other",
                             field="most_users", value=self.most_users,
                             remedy=f"give {self.batch_size} or more")  # fmt: skip
        for name, most in (("most_users", MOST_USERS), ("most_items", MOST_ITEMS)):
            if not 0 < getattr(self, name) <= most:
                raise InputError(f"must be 1 to {most}", field=name, value=getattr(self, name), remedy=_LEAVE_OUT)

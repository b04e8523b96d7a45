"""Who liked what and when, and what is known of the items besides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from streams.contract.columns import Array


@dataclass(frozen=True, slots=True)
class Interactions:
    """N likes in the order of time: user and item numbers (N,) int64, time_ms (N,) int64.

    Where the log has no time, `time_ms` is the place in the user's own order.
    """

    users: tuple[str, ...]
    """Names by number."""
    items: tuple[str, ...]
    user: Array
    item: Array
    time_ms: Array

    def by_user(self) -> list[Array]:
        """Item numbers of each user, oldest first; empty arrays for users without any."""
        return of_each_user(self.user, self.item, len(self.users))


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is known of items besides who liked them: texts[j] is item j's title and attributes, '' where nothing is."""

    texts: tuple[str, ...]
    features: tuple[dict[str, Any], ...] = ()
    """features[j]: what an impression tells of item j, as the event stream of the same data has it; may be empty."""


def of_each_user(user: Array, values: Array, num_users: int) -> list[Array]:
    """The values (N,) of each user, their order kept: a list of `num_users` arrays."""
    order = np.argsort(user, kind="stable")
    ends = np.cumsum(np.bincount(user, minlength=num_users))
    return np.split(values[order], ends[:-1]) if num_users else []


def k_core(likes: Interactions, k: int) -> Array:
    """Whether each like (N,) stays in the largest part in which every user and every item has k likes or more.

    Users and items with fewer are dropped in turn until none is left to drop (Seidman 1983).
    """
    kept = np.ones(len(likes.user), dtype=np.bool_)
    while True:
        by_user = np.bincount(likes.user[kept], minlength=len(likes.users))
        by_item = np.bincount(likes.item[kept], minlength=len(likes.items))
        still = kept & (by_user[likes.user] >= k) & (by_item[likes.item] >= k)
        if still.sum() == kept.sum():
            return kept
        kept = still

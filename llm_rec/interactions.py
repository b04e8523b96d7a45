"""Likes as a recommender learns from them, and what is known of the items besides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streams.contract.columns import Array


@dataclass(frozen=True, slots=True)
class Interactions:
    """N likes in the order of time: user and item numbers (N,) int64, time_ms (N,) int64.

    time_ms is the place in the user's own order where the log has no time.
    """

    users: tuple[str, ...]
    """Names by number."""
    items: tuple[str, ...]
    user: Array
    item: Array
    time_ms: Array

    def by_user(self) -> list[Array]:
        """The item numbers of each user, oldest first; empty arrays for users without any."""
        order = np.argsort(self.user, kind="stable")
        ends = np.cumsum(np.bincount(self.user, minlength=len(self.users)))
        return np.split(self.item[order], ends[:-1]) if len(self.users) else []


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is known of items besides who liked them.

    texts[j] is item j's title and attributes, '' where nothing is known.
    """

    texts: tuple[str, ...]

"""Runs a generation on made-up users, so that the first real one finds everything in place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from serving.recommender.ranking import best
from serving.recommender.served_generation import ServedRecommender

_K = 10


def warm_up(served: ServedRecommender, likes: Sequence[int]) -> None:
    """Recommends to users of those numbers of likes, each alone and then together."""
    if not likes or not len(served.catalogue):
        return
    for num in likes:
        _recommend(served, [num])
    _recommend(served, likes)


def _recommend(served: ServedRecommender, likes: Sequence[int]) -> None:
    num_items = len(served.catalogue)
    histories = [np.arange(num, dtype=np.int64) % num_items for num in likes]
    states = served.language_model.states([None] * len(likes), np.zeros(len(likes), dtype=np.int64), histories)
    best(served.language_model.logits(states, num_items), histories, _K)

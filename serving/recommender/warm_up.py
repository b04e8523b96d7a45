"""Runs a generation on made-up users, so that the first real one finds everything in place."""

from __future__ import annotations

import numpy as np

from serving.recommender.config import MAX_USERS
from serving.recommender.ranking import best
from serving.recommender.served_generation import ServedRecommender

_ROUNDS = 2
_K = 10


def warm_up(served: ServedRecommender, likes: tuple[int, ...]) -> None:
    """Recommends to users of those numbers of likes: each alone, and as many as go together."""
    for _ in range(_ROUNDS):
        for num in likes:
            _forward(served, [num])
        _forward(served, [likes[number % len(likes)] for number in range(MAX_USERS)] if likes else [])


def _forward(served: ServedRecommender, likes: list[int]) -> None:
    num_items = len(served.catalogue)
    if not likes or not num_items:
        return
    histories = [np.arange(num, dtype=np.int64) % num_items for num in likes]
    states = served.language_model.states([None] * len(likes), np.zeros(len(likes), dtype=np.int64), histories)
    best(served.language_model.logits(states, num_items), histories, _K)

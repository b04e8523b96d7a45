"""Likes whose right answer is known: two communities without an item in common, two items of each user withheld."""

from __future__ import annotations

import numpy as np

from llm_rec.interactions import Catalogue
from llm_rec.splits import Split

SIZE = 10
CATALOGUE = Catalogue(tuple(f"item of community {item // SIZE}" for item in range(2 * SIZE)))


def communities(*, seed: int = 0) -> Split:
    """2 * SIZE users and items; user u likes its whole community in a drawn order, save item u, which is its test.

    The next item of the community is its validation.
    """
    rng, numbers = np.random.default_rng(seed), range(2 * SIZE)
    names = tuple(map(str, numbers))
    following = [user // SIZE * SIZE + (user + 1) % SIZE for user in numbers]
    train = [rng.permutation([item for item in numbers if item // SIZE == user // SIZE
                              and item not in (user, following[user])]) for user in numbers]  # fmt: skip
    valid, test = ([np.array([item]) for item in items] for items in (following, numbers))
    return Split("time", names, names, train, valid, test, [1000 * np.arange(len(items)) for items in train])

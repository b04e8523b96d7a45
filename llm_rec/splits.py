"""Which likes are learnt from, which choose settings, and which are left to be found: two ways to divide.

random   of each user's n likes max(1, int(n / 10)) drawn for validation and as many for test, the rest is learnt
         (Liang et al. 2018, as used by CLLM4Rec, Zhu et al. 2024). The future is learnt from.
time     what the file marks as train, valid and test, each part later than the one before. Where a log tells an
         order alone, the last tenth of each user's likes, at least one, is test, the tenth before it validation:
         later within a user, but not across users.

A user with fewer than three likes has all of them learnt from where the split is drawn or by order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from llm_rec.interactions import of_each_user
from llm_rec.sources import TEST, TRAIN, VALID, Source
from streams.contract.columns import Array
from streams.contract.errors import InputError

SPLITS = ("random", "time")
_LEAST_LIKES = 3


@dataclass(frozen=True, slots=True)
class Split:
    """One set of users and items; train, valid, test: item numbers of each user, oldest first (lists of len(users))."""

    name: str
    users: tuple[str, ...]
    items: tuple[str, ...]
    train: list[Array]
    valid: list[Array]
    test: list[Array]
    train_time_ms: list[Array] | None = None
    """When each like of `train` was, where the log tells the time."""


def split_by(name: str, source: Source, *, seed: int) -> Split:
    """The split of that name; `seed` draws the random one. Raises InputError where the data cannot be split so."""
    if name == "random":
        return random_split(source, seed=seed)
    if name == "time":
        return time_split(source)
    raise InputError("unknown split", field="split", value=name, remedy=f"use one of {', '.join(SPLITS)}")


def random_split(source: Source, *, seed: int) -> Split:
    """Each user's likes in a drawn order: the first tenth validation, the next test, the rest learnt."""
    rng = np.random.default_rng(seed)
    return _build("random", source, _by_place(source, rng.permutation))


def time_split(source: Source) -> Split:
    """The file's own parts, or where it has no time the ends of each user's order. Raises InputError without either."""
    if source.part is not None:
        return _build("time", source, source.part)
    if source.has_time:
        raise InputError("marks no train, valid and test", field="split", value=source.spec,
                         remedy='give a file whose lines have "split", or use the random split')  # fmt: skip
    return _build("time", source, _by_place(source, lambda n: np.arange(n)[::-1]))


def last_split(source: Source) -> Split:
    """Nothing is test: the last tenth of each user's likes is validation, all others are learnt from."""
    part = _by_place(source, lambda n: np.arange(n)[::-1])
    part[part == VALID] = TRAIN
    part[part == TEST] = VALID
    return _build("last", source, part)


def _by_place(source: Source, order: Callable[[int], Array]) -> Array:
    """The part of each like (N,): `order` of n likes names the places taken first, for test, then for validation."""
    likes = source.interactions
    part = np.full(len(likes.user), TRAIN, dtype=np.int8)
    for places in of_each_user(likes.user, np.arange(len(likes.user)), len(likes.users)):
        if len(places) >= _LEAST_LIKES:
            held, taken = max(1, int(0.1 * len(places))), order(len(places))
            part[places[taken[:held]]] = TEST
            part[places[taken[held : 2 * held]]] = VALID
    return part


def _build(name: str, source: Source, part: Array) -> Split:
    likes = source.interactions
    train, valid, test = (
        of_each_user(likes.user[part == each], likes.item[part == each], len(likes.users))
        for each in (TRAIN, VALID, TEST)
    )
    learnt = part == TRAIN
    times = of_each_user(likes.user[learnt], likes.time_ms[learnt], len(likes.users)) if source.has_time else None
    return Split(name, likes.users, likes.items, train, valid, test, times)

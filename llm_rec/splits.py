"""Which likes are learnt, which choose among models, and which measure them."""

from __future__ import annotations

from dataclasses import dataclass

from streams.contract.columns import Array


@dataclass(frozen=True, slots=True)
class Split:
    """One set of users and items; train, valid, test: item numbers of each user, oldest first (lists of len(users))."""

    name: str
    users: tuple[str, ...]
    items: tuple[str, ...]
    train: list[Array]
    valid: list[Array]
    test: list[Array]

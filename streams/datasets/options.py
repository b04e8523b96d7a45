"""What a user may say about how a data set is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from streams.contract.errors import InputError

Negatives = Literal["uniform", "popularity"]


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """How to read a data set. Raises InputError for values that cannot be.

    `negatives` and `num_negatives` concern logs of clicks alone (globo, amazon); `seed` draws
    them, and seeds the simulator.
    """

    seed: int = 0
    max_impressions: int | None = None
    max_bad_lines: int = 0
    negatives: Negatives = "uniform"
    num_negatives: int = 4

    def __post_init__(self) -> None:
        _at_least("seed", self.seed, 0)
        _at_least("max_bad_lines", self.max_bad_lines, 0)
        _at_least("num_negatives", self.num_negatives, 0)
        if self.max_impressions is not None:
            _at_least("max_impressions", self.max_impressions, 0)
        if self.negatives not in get_args(Negatives):
            choices = " or ".join(get_args(Negatives))
            raise InputError("unknown way to draw", field="negatives", value=self.negatives, remedy=f"use {choices}")


def _at_least(field: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"must be {least} or more", field=field, value=value, remedy=f"give {least} or more")

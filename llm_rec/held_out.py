"""What is asked of a recommender on a split: from which history, with which items masked, which to be found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from llm_rec.ranking_metrics import METRICS, UserMetrics, user_metrics
from llm_rec.recommender import Recommender
from llm_rec.splits import Split
from streams.contract.columns import Array

Part = Literal["valid", "test"]
_USERS_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutConfig:
    """How test likes are asked for. Validation likes of the same user are masked unless `mask_valid` is off."""

    mask_valid: bool = True


def measure(recommender: Recommender, split: Split, part: Part, config: HeldOutConfig | None = None) -> UserMetrics:
    """The metrics of every user with likes in `part`. Raises FreshetError where a score is not a number."""
    return _measured(recommender, split, part, config or HeldOutConfig(), [_wanted(split, part)])[0]


def measure_with_new(
    recommender: Recommender, split: Split, part: Part, config: HeldOutConfig
) -> tuple[UserMetrics, UserMetrics]:
    """The metrics of `measure`, and those of finding, among all items, the ones alone that nobody in training liked."""
    learnt, wanted = np.unique(np.concatenate([*split.train, _NOTHING])), _wanted(split, part)
    everything, new = _measured(recommender, split, part, config, [wanted, [
        items[~np.isin(items, learnt)] for items in wanted
    ]])  # fmt: skip
    return everything, new


def histories(split: Split, part: Part, users: Array) -> list[Array]:
    """What is known of each user when `part` is asked for: likes learnt from and, on a time split, validated with.

    A random split's validation likes may be later than the test's, and the paper leaves them out.
    """
    if part == "test" and split.name == "time":
        return [np.concatenate([split.train[user], split.valid[user]]) for user in users]
    return [split.train[user] for user in users]


def _wanted(split: Split, part: Part) -> list[Array]:
    return split.valid if part == "valid" else split.test


def _measured(
    recommender: Recommender, split: Split, part: Part, config: HeldOutConfig, sets: list[list[Array]]
) -> list[UserMetrics]:
    """The metrics of finding each of the sets of item numbers, which are lists of all users; scored once."""
    asked = np.array([user for user, items in enumerate(_wanted(split, part)) if len(items)], dtype=np.int64)
    blocks = [asked[start : start + _USERS_AT_ONCE] for start in range(0, len(asked), _USERS_AT_ONCE)]
    found = [_of_block(recommender, split, part, block, config, sets) for block in blocks]
    return [_joined([each[number] for each in found]) for number in range(len(sets))]


def _of_block(
    recommender: Recommender, split: Split, part: Part, users: Array, config: HeldOutConfig, sets: list[list[Array]]
) -> list[UserMetrics]:
    known = histories(split, part, users)
    seen = known
    if part == "test" and config.mask_valid:
        seen = [np.concatenate([split.train[user], split.valid[user]]) for user in users]
    scores = recommender.scores(users, known)
    return [user_metrics(users, scores, [wanted[user] for user in users], seen) for wanted in sets]


def _joined(found: list[UserMetrics]) -> UserMetrics:
    return UserMetrics(np.concatenate([_NOTHING, *(each.users for each in found)]), {
        name: np.concatenate([np.zeros(0), *(each.values[name] for each in found)]) for name in METRICS
    })  # fmt: skip


_NOTHING: Array = np.zeros(0, dtype=np.int64)

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
    config = config or HeldOutConfig()
    wanted = split.valid if part == "valid" else split.test
    asked = np.array([user for user, items in enumerate(wanted) if len(items)], dtype=np.int64)
    found = [_measure(recommender, split, part, asked[start : start + _USERS_AT_ONCE], config)
             for start in range(0, len(asked), _USERS_AT_ONCE)]  # fmt: skip
    users = np.concatenate([asked[:0], *(each.users for each in found)])
    return UserMetrics(users, {name: np.concatenate([np.zeros(0), *(each.values[name] for each in found)])
                               for name in METRICS})  # fmt: skip


def histories(split: Split, part: Part, users: Array) -> list[Array]:
    """What is known of each user when `part` is asked for: likes learnt from and, on a time split, validated with.

    A random split's validation likes may be later than the test's, and the paper leaves them out.
    """
    if part == "test" and split.name == "time":
        return [np.concatenate([split.train[user], split.valid[user]]) for user in users]
    return [split.train[user] for user in users]


def _measure(recommender: Recommender, split: Split, part: Part, users: Array, config: HeldOutConfig) -> UserMetrics:
    known = histories(split, part, users)
    seen = known
    if part == "test" and config.mask_valid:
        seen = [np.concatenate([split.train[user], split.valid[user]]) for user in users]
    wanted = split.valid if part == "valid" else split.test
    return user_metrics(users, recommender.scores(users, known), [wanted[user] for user in users], seen)

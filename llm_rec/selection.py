"""Which of a run's states is kept: the best on validation likes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

import numpy as np

from llm_rec.ranking_metrics import METRICS, user_metrics
from llm_rec.splits import Split
from streams.contract.columns import Array
from streams.contract.values import Floats

_USERS_AT_ONCE = 256
Candidate = TypeVar("Candidate", bound=Hashable)


def validation_score(scores: Floats, seen: list[Array], relevant: list[Array]) -> float:
    """Recall@20 + Recall@40 + NDCG@100 of scores (B, J), averaged over the users with relevant items.

    Seen items are left out of the ranking. 0 where no user has relevant items. The sum is what the reference
    code of CLLM4Rec selects by.
    """
    found = user_metrics(np.arange(len(scores)), scores, relevant, seen)
    return sum(float(found.values[name].mean()) for name in METRICS) if len(found.users) else 0.0


def validated(
    split: Split, scores: Callable[[Array, list[Array]], Iterable[tuple[Candidate, Floats]]]
) -> dict[Candidate, float]:
    """Each candidate's validation score over all users with validation likes, a block of users at a time.

    `scores` gives every candidate's (B, J) for users (B,) and what they liked in training.
    """
    users = np.array([user for user, items in enumerate(split.valid) if len(items)], dtype=np.int64)
    totals: dict[Candidate, float] = {}
    for start in range(0, max(1, len(users)), _USERS_AT_ONCE):
        block = users[start : start + _USERS_AT_ONCE]
        seen, relevant = ([part[user] for user in block] for part in (split.train, split.valid))
        for candidate, found in scores(block, seen):
            share = len(block) / max(1, len(users)) * validation_score(found, seen, relevant)
            totals[candidate] = totals.get(candidate, 0.0) + share
    return totals

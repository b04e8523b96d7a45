"""Which of a run's states is kept: the best on validation likes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streams.contract.columns import Array
from streams.contract.values import Floats

_DEEPEST = 100


def validation_score(scores: Floats, seen: Sequence[Array], relevant: Sequence[Array]) -> float:
    """Recall@20 + Recall@40 + NDCG@100 of scores (B, J), averaged over the users with relevant items.

    Seen items are left out of the ranking. Recall@k = hits / min(k, relevant); NDCG@k = DCG over that of the
    best order, weights 1/log2(rank + 1), as in the reference code. 0 where no user has relevant items.
    """
    sums = [_of_user(row, *items) for row, *items in zip(scores, seen, relevant, strict=True) if len(items[1])]
    return float(np.mean(sums)) if sums else 0.0


def _of_user(scores: Floats, seen: Array, relevant: Array) -> float:
    scores = scores.copy()
    scores[seen] = -np.inf
    hits = np.isin(np.argsort(-scores, kind="stable")[:_DEEPEST], relevant)
    weights = 1 / np.log2(np.arange(2, _DEEPEST + 2))
    ndcg = weights[: len(hits)][hits].sum() / weights[: len(relevant)].sum()
    return float(hits[:20].sum() / min(20, len(relevant)) + hits[:40].sum() / min(40, len(relevant)) + ndcg)

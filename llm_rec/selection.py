"""Which of a run's states is kept: the best on validation likes."""

from __future__ import annotations

import numpy as np

from llm_rec.ranking_metrics import METRICS, user_metrics
from streams.contract.columns import Array
from streams.contract.values import Floats


def validation_score(scores: Floats, seen: list[Array], relevant: list[Array]) -> float:
    """Recall@20 + Recall@40 + NDCG@100 of scores (B, J), averaged over the users with relevant items.

    Seen items are left out of the ranking. 0 where no user has relevant items. The sum is what the reference
    code of CLLM4Rec selects by.
    """
    found = user_metrics(np.arange(len(scores)), scores, relevant, seen)
    return sum(float(found.values[name].mean()) for name in METRICS) if len(found.users) else 0.0

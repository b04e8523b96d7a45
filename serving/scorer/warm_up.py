"""Runs a generation on made-up requests, so that the first real one finds everything in place."""

from __future__ import annotations

import numpy as np

from serving.scorer.batch import combine
from serving.scorer.pooling import tables_of_values
from serving.scorer.served_generation import ServedGeneration
from streams.contract.features import FeatureBatch, Side

_ROUNDS = 3


def warm_up(served: ServedGeneration, candidates: tuple[int, ...]) -> None:
    """Scores requests of those numbers of candidates, alone and two together, on default rows."""
    for _ in range(_ROUNDS):
        for num in candidates:
            _forward(served, _made_up(served, num))
        if candidates:
            _forward(served, combine([_made_up(served, num) for num in (candidates[0], candidates[-1])]))


def _forward(served: ServedGeneration, batch: FeatureBatch) -> None:
    served.forward(
        batch,
        tables_of_values(served.request_tables, batch.request.lengths).astype(np.int32),
        tables_of_values(served.candidate_tables, batch.candidate.lengths).astype(np.int32),
    )


def _made_up(served: ServedGeneration, num_candidates: int) -> FeatureBatch:
    widths = served.widths
    return FeatureBatch(
        _side(1, widths.request_dense, widths.request_keys),
        _side(num_candidates, widths.candidate_dense, widths.candidate_keys),
        np.zeros(num_candidates, dtype=np.int32),
    )


def _side(rows: int, num_dense: int, num_keys: int) -> Side:
    return Side(
        np.zeros((rows, num_dense), dtype=np.float32),
        np.zeros(rows * num_keys, dtype=np.int64),
        np.ones((num_keys, rows), dtype=np.int32),
    )

"""Several row batches as one, so that one forward and one backward pass serve them all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from streams.contract.columns import Array
from trainer.batch import RowBatch
from trainer.model.tables import Bags
from trainer.vocabulary import Assignment


def merged(batches: Sequence[RowBatch]) -> RowBatch:
    """Requests and candidates one batch after the other. What was admitted and evicted is the first one's."""
    if len(batches) == 1:
        return batches[0]
    starts = np.cumsum([0, *(len(batch.request_dense) for batch in batches)])
    first = batches[0].assignment
    slots = np.unique(np.concatenate([batch.assignment.slots for batch in batches]))
    return RowBatch(
        _merged_bags([batch.request for batch in batches]),
        _merged_bags([batch.candidate for batch in batches]),
        torch.cat([batch.request_dense for batch in batches]),
        torch.cat([batch.candidate_dense for batch in batches]),
        torch.cat([batch.request_index + int(start) for batch, start in zip(batches, starts, strict=False)]),
        Assignment(first.rows, slots, first.admitted, first.evicted),
    )


def _merged_bags(parts: Sequence[Bags]) -> Bags:
    """Key by key, the rows of all parts."""
    by_key = zip(*(_keys(part) for part in parts), strict=True)
    rows = [rows for keys in by_key for rows in keys]
    return Bags(np.concatenate(rows), np.concatenate([part.lengths for part in parts], axis=1))


def _keys(bags: Bags) -> list[Array]:
    return np.split(bags.rows, np.cumsum(bags.lengths.sum(axis=1, dtype=np.int64))[:-1])

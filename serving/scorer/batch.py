"""Several scoring requests put together for one pass through the network.

request 1 (E_1 candidates) ┐   request   dense (R, N_r)   ids, lengths (F_r, R)
request 2 (E_2 candidates) ┼─> candidate dense (E, N_c)   ids, lengths (F_c, E)   E = E_1 + E_2 + ...
...                        ┘   request_index (E,) int64
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from streams.contract.columns import Array
from streams.contract.features import FeatureBatch, Side

MAX_CANDIDATES_A_PASS = 256
"""Of requests put together: beyond it, what one layer hands to the next no longer stays in the processor's cache."""


def in_passes(batches: Sequence[FeatureBatch]) -> Iterator[list[FeatureBatch]]:
    """The requests in order, as many at once as one pass through the network is good for; a large one alone."""
    few: list[FeatureBatch] = []
    num_candidates = 0
    for batch in batches:
        num_candidates += len(batch.request_index)
        if few and num_candidates > MAX_CANDIDATES_A_PASS:
            yield few
            few, num_candidates = [], len(batch.request_index)
        few.append(batch)
    if few:
        yield few


def combine(batches: Sequence[FeatureBatch]) -> FeatureBatch:
    """One batch of all requests, in order; each given batch holds one request."""
    if len(batches) == 1:
        return batches[0]
    sizes = [len(batch.request_index) for batch in batches]
    return FeatureBatch(
        _combine_sides([batch.request for batch in batches]),
        _combine_sides([batch.candidate for batch in batches]),
        np.repeat(np.arange(len(batches), dtype=np.int32), sizes),
        _times([batch.event_time_ms for batch in batches]),
    )


def _times(times_ms: Sequence[Array | None]) -> Array | None:
    """(R,), 0 for a request that names none; None where none does."""
    if all(each is None for each in times_ms):
        return None
    return np.concatenate([np.zeros(1, dtype=np.int64) if each is None else each for each in times_ms])


def _combine_sides(sides: Sequence[Side]) -> Side:
    """Rows one after the other; ids are reordered so that they stay key by key."""
    dense = np.concatenate([side.dense for side in sides])
    lengths = np.concatenate([side.lengths for side in sides], axis=1)
    pieces: list[Array] = []
    per_side = [np.split(side.ids, side.lengths.sum(axis=1).cumsum()[:-1]) for side in sides if len(side.lengths)]
    for of_key in zip(*per_side, strict=True):
        pieces.extend(of_key)
    ids = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int64)
    return Side(dense, ids, lengths)

"""Which keys a batch of features counts under: worked out from its ids, so trainer and scorer cannot differ.

R requests, E candidates, K_r + 1 counters of the request (the first counts everything), K_c of the ad.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streams.contract.counters import Counter
from streams.contract.features import FeatureBatch, Side
from streams.contract.schema import Schema
from streams.contract.values import cross_ids
from streams.counters.keyspace import Ints, Numbers

EVERYTHING = 0
"""The number of the counter of everything; the schema's begin with 1."""


@dataclass(frozen=True, slots=True)
class BatchKeys:
    """numbers, ids (N,). Of a batch: counter by counter, row by row, the request's first; N = (K_r + 1) R + K_c E."""

    numbers: Numbers
    ids: Ints

    def __len__(self) -> int:
        return len(self.ids)


class CounterKeys:
    """The keys of a schema's counters."""

    def __init__(self, schema: Schema) -> None:
        self._places = {
            key.name: (of_request, place)
            for of_request in (True, False)
            for place, key in enumerate(schema.sparse(of_request=of_request))
        }
        self._of_request = schema.counters_of(of_request=True)
        self._of_candidate = schema.counters_of(of_request=False)
        of_schema = [schema.counters.index(counter) + 1 for counter in (*self._of_request, *self._of_candidate)]
        self._numbers: Numbers = np.array([EVERYTHING, *of_schema], dtype=np.int16)

    @property
    def num_of_request(self) -> int:
        """K_r + 1"""
        return len(self._of_request) + 1

    def __call__(self, features: FeatureBatch) -> BatchKeys:
        """The keys of R requests and E candidates."""
        request, candidate, index = _Ids(features.request), _Ids(features.candidate), features.request_index
        ids = [np.zeros(request.rows, dtype=np.int64)]
        ids += [self._ids(counter, request, candidate, None) for counter in self._of_request]
        ids += [self._ids(counter, request, candidate, index) for counter in self._of_candidate]
        return BatchKeys(np.repeat(self._numbers, [len(each) for each in ids]), np.concatenate(ids))

    def _ids(self, counter: Counter, request: _Ids, candidate: _Ids, index: Ints | None) -> Ints:
        parts = []
        for name in counter.key:
            of_request, place = self._places[name]
            ids = (request if of_request else candidate).of(place)
            parts.append(ids[index] if of_request and index is not None else ids)
        return parts[0] if len(parts) == 1 else cross_ids(parts)


class _Ids:
    """The ids of single-valued keys of one side."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._ends = np.cumsum(side.lengths.sum(axis=1, dtype=np.int64))

    @property
    def rows(self) -> int:
        return self._side.lengths.shape[1]

    def of(self, place: int) -> Ints:
        """(N,)"""
        end = int(self._ends[place])
        ids: Ints = self._side.ids[end - self.rows : end]
        return ids

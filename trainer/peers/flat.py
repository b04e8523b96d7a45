"""Examples as most learners take them: each whole, what belongs to its request repeated.

    FeatureBatch: request (R), candidate (E), request_index (E,)  ──>  Flat: dense (E, N), F bags of ids an example

Ids and numbers are those of the feature transform; nothing is transformed a second time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from streams.contract.columns import Array, Jagged, take
from streams.contract.features import FeatureBatch
from streams.contract.schema import Schema
from streams.contract.values import mix64

_NAME_BITS = 31


@dataclass(frozen=True, slots=True)
class Flat:
    """E examples with N numbers and F keys, the request's before the ad's.

    dense (E, N) float32; lengths (F, E) int32; ids (lengths.sum(),) int64, key by key, then example by example;
    request_index (E,) int32, the same for candidates of one request.
    """

    dense: Array
    ids: Array
    lengths: Array
    request_index: Array

    def __len__(self) -> int:
        return len(self.request_index)


@dataclass(frozen=True, slots=True)
class Words:
    """The ids of E examples, example by example: keys (n,), names (n,) in 31 bits, weights (n,), ends (E,).

    A name tells key and id; a bag of L ids has weight 1 / L each, so that it counts as its mean.
    """

    keys: Array
    names: Array
    weights: Array
    ends: Array


def num_numbers(schema: Schema) -> int:
    """N: the numbers of an example, counters among them."""
    return len(schema.dense(of_request=True)) + len(schema.dense(of_request=False))


def flattened(features: FeatureBatch) -> Flat:
    """The batch with each example on its own."""
    request, candidate, index = features.request, features.candidate, features.request_index
    num_keys, num_requests = request.lengths.shape
    bags = Jagged(request.ids, request.lengths.ravel())
    repeated = take(bags, (np.arange(num_keys)[:, None] * num_requests + index).ravel())
    assert isinstance(repeated, Jagged)
    assert isinstance(repeated.values, np.ndarray)
    return Flat(
        np.concatenate([request.dense[index], candidate.dense], axis=1),
        np.concatenate([repeated.values, candidate.ids]),
        np.concatenate([repeated.lengths.reshape(num_keys, len(index)), candidate.lengths]),
        index,
    )


def with_newest(flat: Flat, most: int) -> Flat:
    """The examples with the last `most` ids of each bag, which in a sequence are its newest."""
    lengths = flat.lengths.ravel()
    from_end = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(flat.ids))
    return replace(flat, ids=flat.ids[from_end <= most], lengths=np.minimum(flat.lengths, most))


def words_of(flat: Flat) -> Words:
    """The ids as words."""
    num_keys, num_examples = flat.lengths.shape
    lengths = flat.lengths.ravel()
    bag = np.repeat(np.arange(num_keys * num_examples), lengths)
    order = np.argsort(bag % num_examples, kind="stable")
    keys = (bag // num_examples)[order]
    weights = np.repeat(1.0 / np.maximum(lengths, 1), lengths)[order]
    return Words(keys, _names(keys, flat.ids[order]), weights, np.cumsum(flat.lengths.sum(axis=0, dtype=np.int64)))


def _names(keys: Array, ids: Array) -> npt.NDArray[np.uint64]:
    mixed = mix64(ids.view(np.uint64) ^ mix64(keys.astype(np.uint64)))
    return mixed >> np.uint64(64 - _NAME_BITS)

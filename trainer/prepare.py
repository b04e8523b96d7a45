"""Raw example columns to ids and dense values; requests that cannot be transformed are set aside alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from streams.contract.errors import InputError
from streams.contract.examples import ExampleBatch, concat_batches
from streams.contract.features import FeatureBatch, FeatureTransform
from streams.contract.schema import Schema
from streams.turns.cursor import Cursor
from trainer.sightings import Sightings, SightingsOf

OnBadRequest = Callable[[ExampleBatch, str], None]
"""Called with the examples of one request that was set aside, and the reason."""


@dataclass(frozen=True, slots=True)
class Learnable:
    """What a learner takes: E examples, their features, and the distinct keys of these."""

    examples: ExampleBatch
    features: FeatureBatch
    seen: Sightings


@dataclass(frozen=True, slots=True)
class Prepared:
    """One batch, ready for vocabulary and tables, and where the log stands behind it.

    `learnable` is None where the turn left nothing to learn.
    """

    learnable: Learnable | None
    cursor: Cursor


def transform(examples: ExampleBatch, to_features: FeatureTransform) -> FeatureBatch:
    """The features of R requests and E examples. Raises InputError naming feature, entry and value."""
    return to_features(examples.request, examples.candidate, examples.request_index, num_requests=examples.num_requests)


class Preparer:
    """All that can be done for a batch without the model: transform its columns, tell its keys apart. Pure."""

    def __init__(self, schema: Schema) -> None:
        self._to_features = FeatureTransform(schema)
        self._keys = SightingsOf(schema)

    def __call__(self, examples: ExampleBatch) -> Learnable:
        """Raises InputError naming feature, entry and value."""
        features = transform(examples, self._to_features)
        return Learnable(examples, features, self._keys(features))

    def good(self, examples: ExampleBatch, on_bad: OnBadRequest) -> Learnable | None:
        """The examples that can be transformed; None where none can. Order is kept."""
        try:
            return self(examples)
        except InputError:
            good = _good_requests(examples, self._to_features, on_bad)
        return self(concat_batches(good)) if good else None


def _good_requests(examples: ExampleBatch, to_features: FeatureTransform, on_bad: OnBadRequest) -> list[ExampleBatch]:
    """Halves the requests until each part is good throughout, or one bad request alone."""
    try:
        transform(examples, to_features)
    except InputError as error:
        halves = _halves(examples)
        if halves is None:
            on_bad(examples, str(error))
            return []
        return [good for half in halves for good in _good_requests(half, to_features, on_bad)]
    return [examples]


def _halves(examples: ExampleBatch) -> tuple[ExampleBatch, ExampleBatch] | None:
    """Two runs of examples without a request in common; None where there is but one request."""
    changes = np.flatnonzero(np.diff(examples.request_index)) + 1
    if not len(changes):
        return None
    middle = int(changes[len(changes) // 2])
    return examples.slice(0, middle), examples.slice(middle, len(examples))

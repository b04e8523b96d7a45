"""Decayed sums as dense values: logarithms of counts, and how far a key's rate lies above the rate of everything.

    shows    ln(1 + s) / 10   outcomes   ln(1 + c) / 10   s, c  decayed shows and outcomes of the key
    lift     ln((c + m p) / (s + m) / p)                  m     smoothing; p  the prior, the rate of everything
    prior    ln 20 p          p = (C + 1) / (S + 20)      S, C  decayed shows and outcomes of everything

Nothing known of a key: 0, 0, 0. Nothing known at all: p is 1/20, the prior 0. The logarithms of counts are scaled,
because they rise from nothing to many before a network has learnt what they are worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from streams.contract.columns import Array
from streams.contract.counters import Counter, half_lives_of
from streams.contract.features import FeatureBatch, Side
from streams.contract.schema import Schema
from streams.counters.runs import Sums

_PRIOR_OUTCOMES, _PRIOR_SHOWS = 1.0, 20.0
_LOG_SCALE = 0.1


class CounterValues:
    """The dense values of a schema's counters, in the order of `Schema.counted`."""

    def __init__(self, schema: Schema) -> None:
        lives = half_lives_of(schema.counters)
        self._of_request = [(c, _places(c, lives)) for c in schema.counters_of(of_request=True)]
        self._of_candidate = [(c, _places(c, lives)) for c in schema.counters_of(of_request=False)]

    def __call__(self, of_request: Sums, of_candidate: Sums, request_index: Array) -> tuple[Array, Array]:
        """Values (R, V_r) and (E, V_c) float32.

        of_request (1 + K_r, R, H, 2): everything, then each counter of the request; of_candidate (K_c, E, H, 2).
        """
        priors = (of_request[0, :, :, 1] + _PRIOR_OUTCOMES) / (of_request[0, :, :, 0] + _PRIOR_SHOWS)
        own = [_values(c, of_request[n][:, at], priors[:, at]) for n, (c, at) in enumerate(self._of_request, 1)]
        of_each = priors[request_index]
        ads = [_values(c, of_candidate[n][:, at], of_each[:, at]) for n, (c, at) in enumerate(self._of_candidate)]
        nothing = np.zeros((len(request_index), 0))
        return _float32([np.log(priors * _PRIOR_SHOWS / _PRIOR_OUTCOMES), *own]), _float32([nothing, *ads])


def with_values(features: FeatureBatch, request: Array, candidate: Array) -> FeatureBatch:
    """The features with values (R, V_r), (E, V_c) in the last places of their dense values."""
    return replace(features, request=_with(features.request, request), candidate=_with(features.candidate, candidate))


def _with(side: Side, values: Array) -> Side:
    own = side.dense[:, : side.dense.shape[1] - values.shape[1]]
    return Side(np.concatenate([own, values], axis=1), side.ids, side.lengths)


def _places(counter: Counter, lives: Sequence[float]) -> list[int]:
    return [lives.index(half_life) for half_life in counter.half_lives_seconds]


def _values(counter: Counter, sums: Sums, priors: Sums) -> Sums:
    """(N, 3 h) of sums (N, h, 2) and priors (N, h)."""
    shows, outcomes = sums[:, :, 0], sums[:, :, 1]
    rate = (outcomes + counter.smoothing * priors) / (shows + counter.smoothing)
    counts = [_LOG_SCALE * np.log1p(shows), _LOG_SCALE * np.log1p(outcomes)]
    return np.concatenate([*counts, np.log(rate / priors)], axis=1)


def _float32(values: Sequence[Sums]) -> Array:
    return np.concatenate(values, axis=1).astype(np.float32)

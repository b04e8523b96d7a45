"""Impressions and the labels of some of their candidates, as columns.

Emission(impression a, rows [0, 2])  ─┐      ExampleBatch of 2 requests, 5 examples
Emission(impression b, rows [0, 1, 2]) ┴──>  request_index [0, 0, 1, 1, 1]
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from streams.contract.columns import Array, Column, column_from_values
from streams.contract.events import Impression
from streams.contract.examples import ExampleBatch

UNKNOWN = -1


class Given(msgspec.Struct, frozen=True, gc=False):
    """The feedback that one candidate got, of one kind."""

    value: float
    delay_ms: int


class Emission(msgspec.Struct, kw_only=True, gc=False):
    """Candidates `rows` of one impression, decided for one kind: label 1 where `given` has the row, else 0."""

    kind: str
    impression: Impression
    num_bytes: int
    rows: Sequence[int]
    decided_ingest_ms: int
    decided_time_ms: int = UNKNOWN
    given: Mapping[int, Given] = msgspec.field(default_factory=dict)
    correction: bool = False

    @property
    def weight_bytes(self) -> int:
        """About how much this adds to an encoded batch."""
        share = len(self.rows) / max(1, len(self.impression.ad_ids))
        return 128 + 64 * len(self.rows) + int(self.num_bytes * share)


def build_batch(emissions: Sequence[Emission]) -> ExampleBatch:
    """The emissions as one batch, in order: R requests (one an emission), E examples. They must be of one kind.

    A feature that user and context both name is taken from the user.
    """
    impressions = [emission.impression for emission in emissions]
    counts = [len(emission.rows) for emission in emissions]
    label, value, delay_ms = _labels(emissions, sum(counts))
    return ExampleBatch(
        kind=emissions[0].kind,
        impression_id=[i.event_id for i in impressions],
        unit_id=[i.unit_id for i in impressions],
        session_id=[i.session_id for i in impressions],
        arm=[i.arm for i in impressions],
        version=np.array([i.version for i in impressions], dtype=np.int64),
        generation=np.array([i.generation for i in impressions], dtype=np.int64),
        event_time_ms=np.array([i.event_time_ms for i in impressions], dtype=np.int64),
        request=_request_columns(impressions),
        ad_id=_per_row(emissions, [i.ad_ids for i in impressions], None),
        request_index=np.repeat(np.arange(len(emissions), dtype=np.int32), counts),
        position=_numbers(emissions, [i.positions for i in impressions], UNKNOWN, "<i4"),
        label=label,
        weight=np.ones(len(label), dtype=np.float32),
        predicted=_numbers(emissions, [i.probabilities for i in impressions], math.nan, "<f4"),
        propensity=_numbers(emissions, [i.propensities for i in impressions], math.nan, "<f4"),
        true_probability=_numbers(emissions, [i.true_probabilities for i in impressions], math.nan, "<f4"),
        value=value,
        delay_ms=delay_ms,
        decided_ingest_ms=np.repeat(np.array([e.decided_ingest_ms for e in emissions], dtype=np.int64), counts),
        decided_time_ms=np.repeat(np.array([e.decided_time_ms for e in emissions], dtype=np.int64), counts),
        correction=np.repeat(np.array([e.correction for e in emissions], dtype=np.bool_), counts),
        candidate=_candidate_columns(emissions),
    )


def _labels(emissions: Sequence[Emission], num_examples: int) -> tuple[Array, Array, Array]:
    """label (E,), value (E,), delay_ms (E,): 0, 0, -1 where no feedback was given."""
    label = np.zeros(num_examples, dtype=np.float32)
    value = np.zeros(num_examples, dtype=np.float32)
    delay_ms = np.full(num_examples, UNKNOWN, dtype=np.int64)
    start = 0
    for emission in emissions:
        if emission.given:
            for at, row in enumerate(emission.rows, start):
                given = emission.given.get(row)
                if given is not None:
                    label[at], value[at], delay_ms[at] = 1.0, given.value, given.delay_ms
        start += len(emission.rows)
    return label, value, delay_ms


def _request_columns(impressions: Sequence[Impression]) -> dict[str, Column]:
    features = [{**i.context, **i.user} for i in impressions]
    return {name: column_from_values([of.get(name) for of in features]) for name in _names(features)}


def _candidate_columns(emissions: Sequence[Emission]) -> dict[str, Column]:
    features = [emission.impression.candidates for emission in emissions]
    return {
        name: column_from_values(_per_row(emissions, [of.get(name) for of in features], None))
        for name in _names(features)
    }


def _names(features: Iterable[Mapping[str, Any]]) -> list[str]:
    names: dict[str, None] = {}
    for of in features:
        if of.keys() != names.keys():
            names |= dict.fromkeys(of)
    return list(names)


def _numbers(
    emissions: Sequence[Emission], lists: Sequence[Sequence[float] | None], unknown: float, dtype: str
) -> Array:
    if all(values is None for values in lists):
        return np.full(sum(len(emission.rows) for emission in emissions), unknown, dtype=dtype)
    return np.array(_per_row(emissions, lists, unknown), dtype=dtype)


def _per_row(emissions: Sequence[Emission], lists: Sequence[Sequence[Any] | None], unknown: Any) -> list[Any]:
    """The entries of the emissions' rows, one list (N,) an emission; `unknown` where there is no list."""
    out: list[Any] = []
    for emission, values in zip(emissions, lists, strict=True):
        if values is None:
            out.extend([unknown] * len(emission.rows))
        elif len(emission.rows) == len(values):
            out.extend(values)
        else:
            out.extend([values[row] for row in emission.rows])
    return out

"""The one transform from raw columns to what the model reads, for trainer and scorer alike.

R requests, E candidates        F_r, F_c sparse keys and N_r, N_c dense values of request and ad
raw columns ──> FeatureBatch
    request   .dense (R, N_r) float32    .ids, .lengths (F_r, R): values and lengths of a KeyedJaggedTensor
    candidate .dense (E, N_c) float32    .ids, .lengths (F_c, E)
    request_index (E,) int32             candidate -> its request
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streams.contract.alike import alike, dense_values, single_ids
from streams.contract.columns import Array, Column, Jagged, column_from_values
from streams.contract.errors import InputError
from streams.contract.schema import Cross, Feature, Schema
from streams.contract.values import Ids, cross_ids, ids_of


@dataclass(frozen=True, slots=True)
class Side:
    """The request's or the ad's part over N rows.

    dense (N, D) float32; lengths (F, N) int32; ids (lengths.sum(),) int64, key by key, then row by row.
    """

    dense: Array
    ids: Array
    lengths: Array


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """R requests and E candidates, ready for the tables. request_index (E,) int32.

    event_time_ms (R,) int64 is for the counters of a request that is served; None where nobody said.
    """

    request: Side
    candidate: Side
    request_index: Array
    event_time_ms: Array | None = None


class FeatureTransform:
    """Raw columns to a FeatureBatch, by a schema. Pure: the same columns give the same ids on every machine."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._features = {feature.name: feature for feature in schema.features}
        self._request = _Plan([f for f in schema.features if f.of_request], schema.counted(of_request=True))
        self._candidate = _Plan([f for f in schema.features if not f.of_request], schema.counted(of_request=False))
        keys_of_request = {key.name for key in schema.sparse(of_request=True)}
        self._request_crosses = [c for c in schema.crosses if c.name in keys_of_request]
        self._candidate_crosses = [c for c in schema.crosses if c.name not in keys_of_request]

    def __call__(
        self,
        request: Mapping[str, Column],
        candidate: Mapping[str, Column],
        request_index: Array,
        *,
        num_requests: int,
    ) -> FeatureBatch:
        """Transforms columns of R and E rows. A column that is absent is missing throughout.

        Raises InputError naming feature, entry, value and remedy. Columns that no feature names are ignored
        here; `check_names` refuses them at the door.
        """
        num_candidates = len(request_index)
        request_ids: dict[str, Ids] = {}
        candidate_ids: dict[str, Ids] = {}
        of_request = _side(self._request, request, num_requests, request_ids)
        of_candidate = _side(self._candidate, candidate, num_candidates, candidate_ids)
        crossed_requests = [_cross(cross, request_ids, {}, request_index) for cross in self._request_crosses]
        crossed = [_cross(c, request_ids, candidate_ids, request_index) for c in self._candidate_crosses]
        return FeatureBatch(
            _with_crosses(of_request, crossed_requests, num_requests),
            _with_crosses(of_candidate, crossed, num_candidates),
            request_index,
        )

    def check_names(self, names: Sequence[str], *, of_request: bool, where: str) -> None:
        """Raises InputError for a name that is no feature of that side."""
        for name in names:
            feature = self._features.get(name)
            if feature is None or feature.of_request != of_request:
                side = self._request if of_request else self._candidate
                known = ", ".join(f.name for f in side.features)
                raise InputError("unknown feature", field=f"{where}.{name}", value=name,
                                 remedy=f"the model of this schema ({self.schema.name}) knows {known}")  # fmt: skip


class _Plan:
    """The features of one side, and which of them are taken together."""

    def __init__(self, features: list[Feature], counted: list[Feature]) -> None:
        self.features = features
        self.names = [feature.name for feature in [*features, *counted]]
        self.dense = [*(feature for feature in features if feature.kind == "dense"), *counted]
        self.sparse = [feature for feature in features if feature.kind != "dense"]
        self.alike_dense = alike(self.dense)
        self.alike_single = alike([feature for feature in features if feature.kind == "categorical"])


def _side(plan: _Plan, columns: Mapping[str, Column], rows: int, ids_by_name: dict[str, Ids]) -> Side:
    """Transforms one side; leaves the ids of single-valued features in `ids_by_name` for the crosses."""
    for name in plan.names:
        column = columns.get(name)
        if column is not None and len(column) != rows:
            raise InputError(f"has {len(column)} entries where {rows} are due", field=name,
                             value=len(column), remedy="give one entry a row")  # fmt: skip
    numbers = dense_values(plan.alike_dense, columns, rows)
    ids_by_name.update(single_ids(plan.alike_single, columns, rows))
    ids: list[Array] = []
    lengths = np.ones((len(plan.sparse), rows), dtype=np.int32)
    for key, feature in enumerate(plan.sparse):
        if feature.kind == "categorical":
            ids.append(ids_by_name[feature.name])
        else:
            values, lengths[key] = _bag(feature, columns.get(feature.name), rows)
            ids.append(values)
    dense = [numbers[feature.name] for feature in plan.dense]
    return Side(
        np.ascontiguousarray(np.concatenate(dense).reshape(len(dense), rows).T)
        if dense
        else np.zeros((rows, 0), dtype=np.float32),
        np.concatenate(ids) if ids else np.zeros(0, dtype=np.int64),
        lengths,
    )


def _bag(feature: Feature, column: Column | None, rows: int) -> tuple[Array, Array]:
    """(ids of the newest `max_length` values of each row, lengths (rows,))."""
    if column is None:
        return np.zeros(0, dtype=np.int64), np.zeros(rows, dtype=np.int32)
    if isinstance(column, list):
        column = column_from_values([[] if bag is None else bag for bag in column])
    if isinstance(column, list) and not column:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32)
    if not isinstance(column, Jagged):
        raise InputError("is one value where a list is due", field=feature.name, value=column[0],
                         remedy='send a list, or set kind = "categorical" in the schema')  # fmt: skip
    values, lengths = ids_of(feature, column.values), column.lengths
    if len(lengths) and int(lengths.max()) > feature.max_length:
        kept = np.minimum(lengths, feature.max_length)
        from_end = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(values))
        values, lengths = values[from_end <= feature.max_length], kept
    return values, lengths.astype(np.int32)


def _cross(cross: Cross, request: Mapping[str, Ids], candidate: Mapping[str, Ids], request_index: Array) -> Ids:
    over_candidates = any(name in candidate for name in cross.features)
    parts = []
    for name in cross.features:
        if name in candidate:
            parts.append(candidate[name])
        else:
            parts.append(request[name][request_index] if over_candidates else request[name])
    return cross_ids(parts)


def _with_crosses(side: Side, crosses: list[Ids], rows: int) -> Side:
    if not crosses:
        return side
    ones = np.ones((len(crosses), rows), dtype=np.int32)
    return Side(side.dense, np.concatenate([side.ids, *crosses]), np.concatenate([side.lengths, ones]))

"""Single values of several features at once: those of one type, with the same transforms, run as one column.

A request has dozens of features with one row each; taken one by one, the calls would cost far more than the values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from streams.contract.columns import Array, Column, Jagged
from streams.contract.errors import InputError
from streams.contract.schema import Feature
from streams.contract.values import MISSING_ID, dense_of, ids_of

Flat = npt.NDArray[Any] | list[Any]
_MAY_JOIN: dict[str, frozenset[type]] = {
    "int": frozenset((int, type(None))),
    "float": frozenset((int, float, type(None))),
}
"""What lists of numbers may hold so that joining changes no value: beside floats, a large int would lose digits."""


def alike(features: Sequence[Feature]) -> list[list[Feature]]:
    """The features grouped by what is done to their values."""
    groups: dict[tuple[object, ...], list[Feature]] = {}
    for feature in features:
        groups.setdefault((feature.dtype, feature.transforms, feature.default), []).append(feature)
    return list(groups.values())


def single_ids(groups: Sequence[Sequence[Feature]], columns: Mapping[str, Column], rows: int) -> dict[str, Array]:
    """One id a row (rows,) int64 for each categorical feature; MISSING_ID where its column is absent."""
    found: dict[str, Array] = {}
    for group in groups:
        present = [feature for feature in group if feature.name in columns]
        ids = _each(ids_of, present, [_flat(feature, columns[feature.name]) for feature in present], rows)
        found.update(zip((feature.name for feature in present), ids, strict=True))
        for feature in group:
            if feature.name not in found:
                found[feature.name] = np.full(rows, MISSING_ID, dtype=np.int64)
    return found


def dense_values(groups: Sequence[Sequence[Feature]], columns: Mapping[str, Column], rows: int) -> dict[str, Array]:
    """One number a row (rows,) float32 for each dense feature; its default where the column is absent."""
    found: dict[str, Array] = {}
    for group in groups:
        present = [feature for feature in group if feature.name in columns]
        flats = [_flat(feature, columns[feature.name]) for feature in present]
        values = _each(dense_of, present, flats, rows) if present else []
        found.update(zip((feature.name for feature in present), values, strict=True))
        if len(present) < len(group):
            missing = np.repeat(dense_of(group[0], [group[0].default]), rows)
            found.update((feature.name, missing) for feature in group if feature.name not in found)
    return found


def _each(
    compute: Callable[[Feature, Flat], Array], features: Sequence[Feature], flats: Sequence[Flat], rows: int
) -> Sequence[Array]:
    """`compute` of every feature's values, together where that gives the same."""
    joined = _joined(features[0], flats) if len(features) > 1 else None
    if joined is not None:
        try:
            return list(compute(features[0], joined).reshape(len(features), rows))
        except InputError:
            # Taken alone, the feature at fault is named, with its own entry.
            pass
    return [compute(feature, flat) for feature, flat in zip(features, flats, strict=True)]


def _joined(feature: Feature, flats: Sequence[Flat]) -> Flat | None:
    kinds = set(map(type, flats))
    if kinds == {list}:
        joined = list(chain.from_iterable(flats))
        if feature.dtype == "string" or set(map(type, joined)) <= _MAY_JOIN[feature.dtype]:
            return joined
        return None
    if kinds == {np.ndarray} and len({flat.dtype for flat in flats if isinstance(flat, np.ndarray)}) == 1:
        return np.concatenate(flats)
    return None


def _flat(feature: Feature, column: Column) -> Flat:
    if isinstance(column, Jagged):
        raise InputError("is a list where one value is due", field=feature.name, value=len(column),
                         remedy='send one value, or set kind = "multivalued" in the schema')  # fmt: skip
    return column

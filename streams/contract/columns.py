"""One feature over many rows, as it travels: numbers packed, strings listed, bags jagged.

int64 / float64 array     [3, 1, 4]               np.ndarray (N,)
list                      ["a", None, "b"]        anything a scalar may be
Jagged                    [[1, 2], [], [3]]       values [1, 2, 3], lengths [2, 0, 1]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from streams.contract.errors import FormatError

Array = npt.NDArray[Any]

_REMEDY = "it was damaged or written by something else; see what writes there"


@dataclass(frozen=True, slots=True)
class Jagged:
    """Bags of values: row i holds `lengths[i]` of `values`, in order. lengths (N,) int32."""

    values: Union[Array, list[Any]]
    lengths: Array

    def __len__(self) -> int:
        return len(self.lengths)


Column = Union[Array, list[Any], Jagged]


def column_from_values(values: Sequence[Any]) -> Column:
    """The most compact column that holds `values` without changing any of them."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return _int_array(values)
    if kinds == {float}:
        return np.array(values, dtype=np.float64)
    if kinds == {list}:
        flat = [item for bag in values for item in bag]
        inner = column_from_values(flat)
        assert not isinstance(inner, Jagged)
        return Jagged(inner, np.array([len(bag) for bag in values], dtype=np.int32))
    return list(values)


def _int_array(values: Sequence[int]) -> Column:
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError:
        return list(values)


def take(column: Column, rows: Array) -> Column:
    """The column at `rows` (indices into it, in that order)."""
    if isinstance(column, np.ndarray):
        taken: Array = column[rows]
        return taken
    if isinstance(column, Jagged):
        return _take_bags(column, rows)
    return [column[row] for row in rows.tolist()]


def cut(column: Column, start: int, stop: int) -> Column:
    """The column's rows from start to stop; arrays are views."""
    if isinstance(column, Jagged):
        begin = int(column.lengths[:start].sum())
        end = begin + int(column.lengths[start:stop].sum())
        inner = cut(column.values, begin, end)
        assert not isinstance(inner, Jagged)
        return Jagged(inner, column.lengths[start:stop])
    return column[start:stop]


def _take_bags(column: Jagged, rows: Array) -> Jagged:
    starts = np.cumsum(column.lengths, dtype=np.int64) - column.lengths
    lengths = column.lengths[rows]
    total = int(lengths.sum())
    within = np.arange(total) - np.repeat(np.cumsum(lengths, dtype=np.int64) - lengths, lengths)
    inner = take(column.values, np.repeat(starts[rows], lengths) + within)
    assert not isinstance(inner, Jagged)
    return Jagged(inner, lengths)


def concat(columns: Sequence[Column]) -> Column:
    """The columns one after the other. Differing forms fall back to plain values."""
    if len(columns) == 1:
        return columns[0]
    if all(isinstance(c, np.ndarray) for c in columns) and len({c.dtype for c in columns}) == 1:  # type: ignore[union-attr]
        return np.concatenate(columns)  # type: ignore[arg-type]
    if all(isinstance(c, Jagged) for c in columns):
        inner = concat([c.values for c in columns])  # type: ignore[union-attr]
        assert not isinstance(inner, Jagged)
        return Jagged(inner, np.concatenate([c.lengths for c in columns]))  # type: ignore[union-attr]
    return column_from_values([value for c in columns for value in to_values(c)])


def to_values(column: Column) -> list[Any]:
    """The column as plain Python values, bags as lists."""
    if isinstance(column, np.ndarray):
        values: list[Any] = column.tolist()
        return values
    if isinstance(column, Jagged):
        flat = to_values(column.values)
        ends = np.cumsum(column.lengths).tolist()
        return [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return list(column)


def pack(column: Column) -> Any:
    """The column as something MessagePack can hold."""
    if isinstance(column, np.ndarray):
        return {"d": column.dtype.str, "b": column.tobytes()}
    if isinstance(column, Jagged):
        return {"j": pack(column.values), "n": column.lengths.astype("<i4").tobytes()}
    return column


def unpack(packed: Any) -> Column:
    """The inverse of `pack`. Raises FormatError on anything else."""
    if isinstance(packed, list):
        return packed
    try:
        if "j" in packed:
            return _unpack_bags(packed)
        dtype = np.dtype(packed["d"])
        if dtype.kind not in "biuf":
            raise FormatError("is no column of numbers", field="column", value=packed["d"], remedy=_REMEDY)
        return np.frombuffer(packed["b"], dtype=dtype)
    except (KeyError, TypeError, ValueError, SyntaxError) as error:
        raise FormatError(f"is not a packed column: {error}", field="column", remedy=_REMEDY) from error


def _unpack_bags(packed: Any) -> Jagged:
    inner, lengths = unpack(packed["j"]), np.frombuffer(packed["n"], dtype="<i4")
    if isinstance(inner, Jagged) or (lengths < 0).any() or int(lengths.sum(dtype=np.int64)) != len(inner):
        raise FormatError("has bags that do not share out its values", field="column", value=len(inner), remedy=_REMEDY)
    return Jagged(inner, lengths)

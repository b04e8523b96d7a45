"""First values of rows that somebody else has learnt: a recommender's item embeddings, say.

A safetensors file with `TABLE/ids` (N,) int64, distinct, and `TABLE/rows` (N, D) float32. An id that is not
in it begins as it would without the file (trainer/model/rows.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.values import Floats, Ids

_REMEDY = "write one with `freshet recommender rows`"


class StartingRows:
    """ids (N,) in rising order and values (N, D) of each table number that the file names."""

    def __init__(self, of_table: Mapping[int, tuple[Ids, Floats]]) -> None:
        self._of_table = of_table

    def put(self, tables: Array, ids: Ids, values: Floats) -> None:
        """Overwrites those of the values (N, D) whose table number (N,) and id (N,) are known."""
        for number, (known, rows) in self._of_table.items():
            mine = np.flatnonzero(tables == number)
            place = np.minimum(np.searchsorted(known, ids[mine]), len(known) - 1)
            found = known[place] == ids[mine]
            values[mine[found]] = rows[place[found]]


def load_starting_rows(path: Path, numbers: Mapping[str, int], dim: int) -> StartingRows:
    """The file's rows for tables by their numbers. Raises InputError for a file that does not fit the schema."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot be read: {error}", field="starting-rows", value=str(path), remedy=_REMEDY) from error
    names = {name.rpartition("/")[0] for name in tensors}
    unknown = sorted(names - set(numbers))
    if unknown or not names:
        raise InputError(f"names tables that the schema does not have: it has {', '.join(numbers)}",
                         field="starting-rows", value=unknown, remedy=_REMEDY)  # fmt: skip
    return StartingRows({numbers[name]: _checked(name, tensors, dim) for name in sorted(names)})


def _checked(table: str, tensors: Mapping[str, Array], dim: int) -> tuple[Ids, Floats]:
    ids, rows = tensors.get(f"{table}/ids"), tensors.get(f"{table}/rows")
    shape = None if rows is None else rows.shape
    if ids is None or rows is None or ids.dtype != np.int64 or not len(ids) or shape != (len(ids), dim):
        raise InputError(f"must hold ids (N,) int64 and rows (N, {dim})", field=f"starting-rows: {table}", value=shape,
                         remedy=_REMEDY)  # fmt: skip
    order = np.argsort(ids)
    if len(np.unique(ids)) < len(ids) or not np.isfinite(rows).all():
        raise InputError("has an id twice, or a value that is not finite", field=f"starting-rows: {table}",
                         remedy=_REMEDY)  # fmt: skip
    return ids[order], rows[order].astype(np.float32)

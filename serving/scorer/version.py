"""One version made ready to be applied, so that applying it is a few vectorised writes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serving.scorer.programs import DEFAULT_ROWS, Programs
from streams.contract.calibration import calibration_from
from streams.contract.columns import Array
from streams.contract.errors import FormatError
from streams.contract.manifest import Generation, Manifest, ModelUpdate
from streams.contract.rows import decode_rows, encode_rows
from streams.contract.schema import Schema


@dataclass(frozen=True, slots=True)
class PreparedVersion:
    """Dense parameters, changed rows and removed ids over all tables together.

    tables (N,) int16, ids (N,) int64, rows (N, D) float32; dead_tables (M,), dead_ids (M,).
    """

    manifest: Manifest
    dense: dict[str, Array]
    tables: Array
    ids: Array
    rows: Array
    dead_tables: Array
    dead_ids: Array


def merged(update: ModelUpdate, generation: Generation) -> PreparedVersion:
    """A version's tables merged, its dense part as it is. Raises FormatError where rows do not fit the generation."""
    numbers = {table: number for number, table in enumerate(generation.tables)}
    dims = generation.tables
    for table in [*update.rows, *update.tombstones]:
        if table not in numbers:
            raise FormatError("is no table of the generation", field=f"rows.{table}", value=update.manifest.version)
    for table, rows in update.rows.items():
        if rows.values.shape != (len(rows.ids), dims[table]):
            raise FormatError("has another shape than its table", field=f"rows.{table}", value=rows.values.shape)
    values = [as_stored(rows.values, generation) for rows in update.rows.values()]
    dim = next(iter(dims.values()))
    return PreparedVersion(
        update.manifest,
        update.dense,
        *_keys({table: rows.ids for table, rows in update.rows.items()}, numbers),
        np.concatenate(values) if values else np.zeros((0, dim), dtype=np.float32),
        *_keys(update.tombstones, numbers),
    )


def check_dense(dense: dict[str, Array], generation: Generation, schema: Schema, programs: Programs) -> None:
    """Raises FormatError where the dense parameters do not fit the generation; `schema` and `programs` are its own."""
    programs.check(dense)
    expected = (len(generation.tables), next(iter(generation.tables.values())))
    defaults = dense.get(DEFAULT_ROWS)
    if defaults is None or defaults.shape != expected:
        raise FormatError("is not one row a table", field=f"dense.{DEFAULT_ROWS}",
                          value=None if defaults is None else defaults.shape, remedy=f"ship {expected}")  # fmt: skip
    calibration_from(dense, schema)


def as_stored(rows: Array, generation: Generation) -> Array:
    """Rows as they would come back from the store: a score does not depend on which way a row came."""
    if generation.row_encoding == "fp32":
        return rows
    return decode_rows(encode_rows(rows, generation.row_encoding), rows.shape[1], generation.row_encoding)


def _keys(ids: dict[str, Array], numbers: dict[str, int]) -> tuple[Array, Array]:
    tables = [np.full(len(of_table), numbers[table], dtype=np.int16) for table, of_table in ids.items()]
    if not tables:
        return np.zeros(0, dtype=np.int16), np.zeros(0, dtype=np.int64)
    return np.concatenate(tables), np.concatenate(list(ids.values())).astype(np.int64)

"""The rows of one ad, packed: all its single-valued features in one value, one lookup instead of F.

Layout letters: B bundles, F bundled features, D dimension, W bytes of an encoded row.

    bundle key      hash of the ad's F ids (i64)
    bundle value    version (u64)  included (u64)  absent (u64)  ids (F x i64)  rows (F x W)

    included  bit f: the row of feature f is here, exactly as it was at `version`
    absent    bit f: no row is admitted for the id of feature f, so the default row stands for it
    neither   many ads share the row, so it is kept once, as a single row (zeros stand here)

Every change of a row that is included, or of whether there is one, rewrites the bundle in the same
version. So a reader at version v may use a bundle whose version is at most v, and nothing in it is
older than v. The ids tell two ads apart whose hashes agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streams.contract.columns import Array
from streams.contract.manifest import Generation
from streams.contract.rows import decode_rows, joined, row_bytes
from streams.contract.schema import Schema, Sparse, schema_from_json
from streams.contract.values import cross_ids

MAX_FEATURES = 64
"""Bits of a mask; ad features beyond them are fetched as single rows."""


@dataclass(frozen=True, slots=True)
class BundleLayout:
    """How the bundles of one generation look. `tables` (F,) int64 are table numbers, in the order of `names`."""

    names: tuple[str, ...]
    tables: Array
    dim: int
    encoding: str

    @property
    def num_features(self) -> int:
        """F."""
        return len(self.names)

    @property
    def value(self) -> np.dtype[np.void]:
        """One bundle value."""
        num, width = self.num_features, row_bytes(self.dim, self.encoding)
        masks = [("version", "<u8"), ("included", "<u8"), ("absent", "<u8")]
        return np.dtype([*masks, ("ids", "<i8", (num,)), ("rows", "u1", (num, width))])


@dataclass(frozen=True, slots=True)
class Bundles:
    """B bundles, decoded; a row that is not included is zeros.

    versions (B,) int64; ids (B, F) int64; included, absent (B, F) bool; rows (B, F, D) float32.
    """

    versions: Array
    ids: Array
    included: Array
    absent: Array
    rows: Array


def bundled_features(schema: Schema) -> list[Sparse]:
    """The ad features that a bundle holds, in order: single-valued, no crosses, of one dimension."""
    single = {feature.name for feature in schema.features if feature.kind == "categorical"}
    keys = [key for key in schema.sparse(of_request=False) if key.name in single]
    return [key for key in keys if key.dim == keys[0].dim][:MAX_FEATURES]


def bundle_layout(generation: Generation) -> BundleLayout:
    """The layout of a generation's bundles."""
    keys = bundled_features(schema_from_json(generation.schema))
    numbers = {table: number for number, table in enumerate(generation.tables)}
    tables = np.array([numbers[key.table] for key in keys], dtype=np.int64)
    dim = keys[0].dim if keys else 1
    return BundleLayout(tuple(key.name for key in keys), tables, dim, generation.row_encoding)


def bundle_keys(ids: Array) -> Array:
    """The key (B,) int64 of each ad's ids (B, F), columns as in the layout."""
    return cross_ids([np.ascontiguousarray(ids[:, feature]) for feature in range(ids.shape[1])])


def bundle_fields(keys: Array) -> list[bytes]:
    """The hash field of each bundle, 8 bytes."""
    packed = keys.astype("<i8").tobytes()
    return [packed[at : at + 8] for at in range(0, len(packed), 8)]


def encode_bundles(
    layout: BundleLayout, version: int, ids: Array, included: Array, absent: Array, rows: Array
) -> list[bytes]:
    """Bundle values. ids (B, F) int64; included, absent (B, F) bool; rows (B, F, W) uint8, already encoded."""
    values = np.zeros(len(ids), dtype=layout.value)
    values["version"], values["ids"] = version, ids
    values["included"], values["absent"] = _mask(included), _mask(absent)
    values["rows"] = np.where(included[:, :, None], rows, np.uint8(0))
    packed, width = values.tobytes(), values.dtype.itemsize
    return [packed[at : at + width] for at in range(0, len(packed), width)]


def decode_bundles(layout: BundleLayout, packed: list[bytes]) -> Bundles:
    """The inverse of `encode_bundles`. Raises FormatError where a value has another size."""
    values = np.frombuffer(joined(packed, layout.value.itemsize, "bundle"), dtype=layout.value)
    num, width = layout.num_features, row_bytes(layout.dim, layout.encoding)
    rows = decode_rows(values["rows"].reshape(len(values) * num, width), layout.dim, layout.encoding)
    return Bundles(
        values["version"].astype(np.int64),
        values["ids"].reshape(len(values), num),
        _bits(values["included"], num),
        _bits(values["absent"], num),
        rows.reshape(len(values), num, layout.dim),
    )


def _mask(bits: Array) -> Array:
    places = np.uint64(1) << np.arange(bits.shape[1], dtype=np.uint64)
    mask: Array = np.where(bits, places, np.uint64(0)).sum(axis=1, dtype=np.uint64)
    return mask


def _bits(mask: Array, num: int) -> Array:
    bits: Array = (mask[:, None] >> np.arange(num, dtype=np.uint64)) & np.uint64(1) != 0
    return bits

"""Where rows and versions lie in Redis, and how one row looks as bytes.

One generation `g` of model `m`; all keys of a bucket share a hash tag, so they share a cluster slot:

    freshet:m:live                       the live generation (decimal)
    freshet:m:generations                set of generations kept
    freshet:m:g:manifest                 Generation, JSON
    freshet:m:g:head                     Manifest of the newest version whose rows are all written, JSON
    freshet:m:g:dense                    dense parameters of that version and their version, MessagePack
    freshet:m:g:program:NAME             exported program of the dense network; `programs` is the set of names
    freshet:m:g:applied                  hash: version -> wall ms when a scorer applied it first
    freshet:m:g:tombstones               hash: version -> ids it evicted and when, until their tombstones are dropped
    freshet:m:g:promote                  set where the generation is to become live with its first version
    freshet:m:refused                    list of versions that the gate refused, JSON, newest first
    freshet:m:{g.b}:rows                 hash of bucket b: row field -> row value
    freshet:m:{g.b}:ads                  hash of bucket b: bundle key -> the rows of one ad, packed

    row field     table number (u16) id (i64), little-endian
    row value     version (u64) row (row encoding)
    row evicted   version | 2**63 (u64) zeros: kept for a while, so that an absence has its version too
    bundle value  see streams/contract/bundles.py

A value carries the version that wrote it, so a reader at version v knows a newer row when it
meets one, and catches up before it scores instead of mixing versions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streams.contract.columns import Array
from streams.contract.errors import FormatError
from streams.contract.values import mix64

NUM_BUCKETS = 64
TOMBSTONE = 1 << 63
"""Set in the version of a value whose row that version evicted."""

_ROW_FIELD = np.dtype([("table", "<u2"), ("id", "<i8")])


def live_key(model: str) -> str:
    """The pointer to the live generation."""
    return f"freshet:{model}:live"


def generations_key(model: str) -> str:
    """The set of generations that are kept."""
    return f"freshet:{model}:generations"


def generation_key(model: str, generation: int, name: str) -> str:
    """A key of one generation: manifest, head, dense, program:NAME."""
    return f"freshet:{model}:{generation}:{name}"


def bucket_key(model: str, generation: int, bucket: int, name: str = "rows") -> str:
    """The hash of one bucket: `rows` or `ads`."""
    return f"freshet:{model}:{{{generation}.{bucket}}}:{name}"


def buckets_of(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The bucket of each id (N,)."""
    return (mix64(ids.view(np.uint64)) % np.uint64(NUM_BUCKETS)).astype(np.int64)


def row_fields(table: int, ids: npt.NDArray[np.int64]) -> list[bytes]:
    """The hash field of each row, 10 bytes."""
    fields = np.empty(len(ids), dtype=_ROW_FIELD)
    fields["table"], fields["id"] = table, ids
    packed = fields.tobytes()
    return [packed[at : at + 10] for at in range(0, len(packed), 10)]


def pack_rows(version: int, values: Array, encoding: str = "fp32") -> list[bytes]:
    """Row values (N, D) as they lie in Redis: version, then the row."""
    encoded = encode_rows(values, encoding)
    packed = np.empty(len(values), dtype=_row_value(encoded.shape[1]))
    packed["version"], packed["row"] = version, encoded
    return _cut(packed)


def pack_tombstones(version: int, num: int, dim: int, encoding: str = "fp32") -> list[bytes]:
    """What stands in the place of `num` rows that `version` evicted."""
    packed = np.zeros(num, dtype=_row_value(row_bytes(dim, encoding)))
    packed["version"] = version | TOMBSTONE
    return _cut(packed)


def unpack_rows(packed: list[bytes], dim: int, encoding: str = "fp32") -> tuple[Array, Array, Array]:
    """(versions (N,) int64, whether a row is there and no tombstone (N,) bool, rows (N, D) float32).

    Raises FormatError where a value has another size.
    """
    width = row_bytes(dim, encoding)
    values = np.frombuffer(joined(packed, _row_value(width).itemsize, "row"), dtype=_row_value(width))
    versions = (values["version"] & np.uint64(TOMBSTONE - 1)).astype(np.int64)
    present = values["version"] < np.uint64(TOMBSTONE)
    return versions, present, decode_rows(values["row"].reshape(len(values), width), dim, encoding)


def joined(packed: list[bytes], num_bytes: int, what: str) -> bytes:
    """The values one after the other. Raises FormatError where one has not `num_bytes`."""
    wrong = set(map(len, packed)) - {num_bytes}
    if wrong:
        raise FormatError(f"a {what} of the store has not its {num_bytes} bytes", field="redis", value=min(wrong),
                          remedy="publish a new generation, and see what else writes to this Redis")  # fmt: skip
    return b"".join(packed)


def _row_value(width: int) -> np.dtype[np.void]:
    return np.dtype([("version", "<u8"), ("row", "u1", (width,))])


def _cut(packed: Array) -> list[bytes]:
    """The bytes of each element."""
    joined, width = packed.tobytes(), packed.dtype.itemsize
    return [joined[at : at + width] for at in range(0, len(joined), width)]


def encode_rows(values: Array, encoding: str) -> Array:
    """Rows (N, D) float32 as fixed-width bytes (N, W) uint8: fp32, fp16, or int8 with a scale per row."""
    if encoding in ("fp32", "fp16"):
        numbers = np.ascontiguousarray(values, dtype="<f4" if encoding == "fp32" else "<f2")
        return numbers.view(np.uint8).reshape(len(values), row_bytes(values.shape[1], encoding))
    assert encoding == "int8"
    scale = np.maximum(np.abs(values).max(axis=1, keepdims=True), 1e-30).astype("<f4") / np.float32(127)
    # 16 bits of the scale are kept, so that 127 * scale is exact and what was decoded encodes to the same bytes.
    scale = (scale.view(np.uint32) & np.uint32(0xFFFFFF00)).view("<f4")
    quantised = np.clip(np.rint(values / scale), -127, 127).astype(np.int8)
    return np.concatenate([scale.view(np.uint8).reshape(len(values), 4), quantised.view(np.uint8)], axis=1)


def decode_rows(packed: Array, dim: int, encoding: str) -> Array:
    """The inverse of `encode_rows`: (N, W) uint8 to (N, D) float32."""
    if encoding in ("fp32", "fp16"):
        kind = "<f4" if encoding == "fp32" else "<f2"
        return np.ascontiguousarray(packed).view(kind).reshape(len(packed), dim).astype(np.float32)
    assert encoding == "int8"
    scale = np.ascontiguousarray(packed[:, :4]).view("<f4")
    values: Array = packed[:, 4:].view(np.int8).astype(np.float32) * scale
    return values


def row_bytes(dim: int, encoding: str) -> int:
    """Bytes of one encoded row, without its version."""
    return {"fp32": 4 * dim, "fp16": 2 * dim, "int8": 4 + dim}[encoding]

"""One version of a model: what it is, where it came from, and the record in which it travels.

A version is dense parameters + changed rows + tombstones + this manifest. It travels on
`model-updates` as one or more records (a broker takes about 1 MB a record) appended in one
transaction, and is applied between two batches, all or nothing.

    record   kind U   {version, part, parts, bytes}      parts of one MessagePack map:
    payload  {manifest, dense: {name: tensor}, rows: {table: {ids, values}}, tombstones: {table: ids}}
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from streams.contract.columns import Array
from streams.contract.encoding import decode_fields, encode_fields
from streams.contract.errors import FormatError
from streams.contract.misfit import misfit

MAX_PART_BYTES = 700_000
_REMEDY = "it was damaged or written by something else; see what writes to model-updates and to Redis"


class Manifest(msgspec.Struct, kw_only=True, frozen=True):
    """What a version is. Times are wall-clock milliseconds but for `newest_event_time_ms` (the data's clock)."""

    model: str
    version: int
    parent: int
    generation: int
    feature_hash: str
    step: int = 0
    examples: int = 0
    offsets: dict[str, list[int]] = {}
    """`topic[partition]` -> [offset, row] of the next example to learn."""
    newest_event_time_ms: int = 0
    newest_ingest_ms: int = 0
    """When the event entered that settled the newest label learnt."""
    ingest_quantiles_ms: list[int] = []
    """`decided_ingest_ms` of the examples new in this version, at 0, 1, ... 100 %."""
    created_ms: int = 0
    recipe: str = ""
    num_rows: int = 0
    num_tombstones: int = 0
    gate: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    extra: dict[str, Any] = {}


class Generation(msgspec.Struct, kw_only=True, frozen=True):
    """A full snapshot on which versions build: everything a scorer needs before the first row."""

    model: str
    generation: int
    first_version: int
    feature_hash: str
    schema: str
    """The schema as canonical JSON."""
    tables: dict[str, int]
    """Table -> dimension, in order: a table's place here is its number in keys and maps."""
    network: dict[str, Any]
    """What the dense network is (its architecture and the names of its exported programs)."""
    row_encoding: str = "fp32"
    created_ms: int = 0
    updates_offset: int = 0
    """Where `model-updates` stood when the snapshot was cut: versions behind it follow."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one table: ids (N,) int64, values (N, D) float32."""

    ids: Array
    values: Array


@dataclass(frozen=True, slots=True)
class ModelUpdate:
    """One version, whole."""

    manifest: Manifest
    dense: dict[str, Array]
    rows: dict[str, Rows] = field(default_factory=dict)
    tombstones: dict[str, Array] = field(default_factory=dict)


def encode_update(update: ModelUpdate) -> list[bytes]:
    """The version as records for `model-updates`, to be appended together and in this order."""
    payload = msgspec.msgpack.encode({
        "manifest": msgspec.to_builtins(update.manifest),
        "dense": {name: pack_tensor(tensor) for name, tensor in update.dense.items()},
        "rows": {
            table: {"ids": rows.ids.astype("<i8").tobytes(), "values": pack_tensor(rows.values)}
            for table, rows in update.rows.items()
        },
        "tombstones": {table: ids.astype("<i8").tobytes() for table, ids in update.tombstones.items()},
    })  # fmt: skip
    pieces = [payload[at : at + MAX_PART_BYTES] for at in range(0, len(payload), MAX_PART_BYTES)]
    head = {"version": update.manifest.version, "generation": update.manifest.generation, "parts": len(pieces)}
    return [encode_fields("update", {**head, "part": n, "bytes": piece}) for n, piece in enumerate(pieces)]


class UpdatePart(msgspec.Struct, kw_only=True, frozen=True):
    """One record of `model-updates`: piece `part` of the `parts` that make the version."""

    version: int
    generation: int
    part: int
    parts: int
    piece: bytes = msgspec.field(name="bytes")


def decode_part(record: bytes) -> UpdatePart:
    """The part in a record of `model-updates`. Raises FormatError on anything else."""
    kind, fields = decode_fields(record)
    if kind != "update":
        raise FormatError("is not a record of model-updates", field="header.kind", value=kind, remedy=_REMEDY)
    try:
        return msgspec.convert(fields, UpdatePart)
    except msgspec.ValidationError as error:
        what, field, value = misfit(error, fields)
        raise FormatError(what, field=f"update.{field}", value=value, remedy=_REMEDY) from error


class UpdateAssembler:
    """Puts the records of `model-updates` together again; feed them in order."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def add(self, record: bytes) -> ModelUpdate | None:
        """The version that this record completes, or None. Raises FormatError on a damaged or out-of-order record."""
        part = decode_part(record)
        if part.part == 0:
            self._pieces = []
        if part.part != len(self._pieces):
            raise FormatError("a part of the version is missing", field="part", value=part.part, remedy=_REMEDY)
        self._pieces.append(part.piece)
        if len(self._pieces) < part.parts:
            return None
        payload, self._pieces = b"".join(self._pieces), []
        return _decode_payload(payload)


def assemble(records: Iterable[bytes]) -> list[ModelUpdate]:
    """All whole versions in `records`, in order."""
    assembler = UpdateAssembler()
    return [update for update in map(assembler.add, records) if update is not None]


def _decode_payload(payload: bytes) -> ModelUpdate:
    try:
        fields = msgspec.msgpack.decode(payload)
        update = ModelUpdate(
            manifest=msgspec.convert(fields["manifest"], Manifest),
            dense={name: unpack_tensor(tensor) for name, tensor in fields["dense"].items()},
            rows={
                table: Rows(np.frombuffer(rows["ids"], dtype="<i8"), unpack_tensor(rows["values"]))
                for table, rows in fields["rows"].items()
            },
            tombstones={t: np.frombuffer(ids, dtype="<i8") for t, ids in fields["tombstones"].items()},
        )
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise FormatError(f"damaged version: {error!r}", field="model-updates", remedy=_REMEDY) from error
    for table, rows in update.rows.items():
        if rows.values.ndim != 2 or len(rows.values) != len(rows.ids):
            raise FormatError(f"has values of shape {rows.values.shape} for {len(rows.ids)} ids", field=f"rows.{table}",
                              value=rows.values.shape, remedy=_REMEDY)  # fmt: skip
    return update


def pack_tensor(tensor: Array) -> dict[str, Any]:
    """A tensor as something MessagePack can hold."""
    contiguous = np.ascontiguousarray(tensor)
    return {"shape": list(contiguous.shape), "dtype": contiguous.dtype.str, "bytes": contiguous.tobytes()}


def unpack_tensor(packed: dict[str, Any]) -> Array:
    """The inverse of `pack_tensor`; read-only. Raises FormatError on anything else."""
    try:
        dtype = np.dtype(packed["dtype"])
        if dtype.kind not in "biuf" or any(size < 0 for size in packed["shape"]):
            raise FormatError("is no tensor of numbers", field="tensor", value=(dtype.str, packed["shape"]),
                              remedy=_REMEDY)  # fmt: skip
        return np.frombuffer(packed["bytes"], dtype=dtype).reshape(packed["shape"])
    except (KeyError, TypeError, ValueError, OverflowError, SyntaxError) as error:
        raise FormatError(f"is not a packed tensor: {error!r}", field="tensor", remedy=_REMEDY) from error

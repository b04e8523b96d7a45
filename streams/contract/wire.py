"""The tensors of the `ranker` model: one scoring request in, its probabilities and their origin out.

    F_r, F_c sparse keys and N_r, N_c dense values of request and ad; E candidates; leading batch dimension 1

    request_dense      FP32  [1, N_r]        num_candidates  INT32 [1, 1]
    request_ids        INT64 [1, n]          feature_hash    INT64 [1, 1]
    request_lengths    INT32 [1, F_r]
    candidate_dense    FP32  [1, E * N_c]    row-major (E, N_c)
    candidate_ids      INT64 [1, m]          key by key, then candidate by candidate
    candidate_lengths  INT32 [1, F_c * E]    row-major (F_c, E)
    event_time_ms      INT64 [1, 1]         on the data's clock, for counters; may be left out; 0: now

    probability        FP32  [1, E]          info  INT64 [1, 6]: the fields of `Info`, in order

A tensor of no elements travels as one zero, [1, 1], because not every server takes empty tensors;
the reader cuts it away, knowing N_r, F_r, N_c, F_c from the schema and n, m from the lengths.
`num_candidates` 0 asks for `info` alone (`request` and `candidate` tensors are then not looked at).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass

import numpy as np

from streams.contract.columns import Array
from streams.contract.errors import FormatError, TooLargeError
from streams.contract.features import FeatureBatch, Side
from streams.contract.schema import Schema

MODEL_NAME = "ranker"
MAX_CANDIDATES = 4096

# name -> KServe v2 datatype
INPUTS: dict[str, str] = {
    "request_dense": "FP32",
    "request_ids": "INT64",
    "request_lengths": "INT32",
    "candidate_dense": "FP32",
    "candidate_ids": "INT64",
    "candidate_lengths": "INT32",
    "num_candidates": "INT32",
    "feature_hash": "INT64",
    "event_time_ms": "INT64",
}
OPTIONAL = "event_time_ms"
OUTPUTS: dict[str, str] = {"probability": "FP32", "info": "INT64"}
NUMPY_DTYPES: dict[str, str] = {"FP32": "<f4", "INT64": "<i8", "INT32": "<i4", "UINT8": "|u1"}
_DTYPES = {name: np.dtype(NUMPY_DTYPES[datatype]) for name, datatype in INPUTS.items()}

# an error's message starts with one of these, then ": "
SCHEMA_MISMATCH = "schema_mismatch"
NOT_READY = "not_ready"
BAD_INPUT = "invalid_input"

# bits of Info.flags
STORE_UNAVAILABLE = 1
DEFAULTS_USED_FOR_MISSES = 2
STALE_UPDATES = 4
FLAG_NAMES: dict[int, str] = {
    STORE_UNAVAILABLE: "store_unavailable",
    DEFAULTS_USED_FOR_MISSES: "defaults_used_for_misses",
    STALE_UPDATES: "stale_updates",
}


@dataclass(frozen=True, slots=True)
class Info:
    """Which version made a score, how fresh it is, and what was missing. Version 0: nothing is loaded yet."""

    version: int = 0
    generation: int = 0
    newest_ingest_ms: int = 0
    newest_event_time_ms: int = 0
    flags: int = 0
    num_misses: int = 0

    def as_array(self) -> Array:
        """The output tensor `info` (1, 6) int64."""
        return np.array([astuple(self)], dtype=np.int64)

    @property
    def flag_names(self) -> list[str]:
        """The flags as words."""
        return flag_names(self.flags)


@dataclass(frozen=True, kw_only=True, slots=True)
class Widths:
    """How many dense values and sparse keys each side has."""

    request_dense: int
    request_keys: int
    candidate_dense: int
    candidate_keys: int


def widths_of(schema: Schema) -> Widths:
    """The widths that `schema` gives."""
    return Widths(
        request_dense=len(schema.dense(of_request=True)),
        request_keys=len(schema.sparse(of_request=True)),
        candidate_dense=len(schema.dense(of_request=False)),
        candidate_keys=len(schema.sparse(of_request=False)),
    )


def info_from(array: Array) -> Info:
    """The inverse of `Info.as_array`; takes (1, 6) or (6,)."""
    return Info(*(int(value) for value in array.reshape(-1)))


def flag_names(flags: int) -> list[str]:
    """The bits of `flags` as words."""
    return [name for bit, name in FLAG_NAMES.items() if flags & bit]


def hash_number(feature_hash: str) -> int:
    """A schema's hash (16 hex digits) as the signed number that travels."""
    return int.from_bytes(bytes.fromhex(feature_hash[:16]), "big", signed=True)


def pack_request(batch: FeatureBatch, feature_hash: str) -> dict[str, Array]:
    """The input tensors of ONE request (R = 1) with its E candidates."""
    num_candidates = len(batch.request_index)
    tensors = {
        "request_dense": batch.request.dense,
        "request_ids": batch.request.ids,
        "request_lengths": batch.request.lengths,
        "candidate_dense": batch.candidate.dense,
        "candidate_ids": batch.candidate.ids,
        "candidate_lengths": batch.candidate.lengths,
        "num_candidates": np.array([num_candidates]),
        "feature_hash": np.array([hash_number(feature_hash)]),
        OPTIONAL: np.zeros(1) if batch.event_time_ms is None else batch.event_time_ms,
    }
    return {name: _as_wire(tensor, INPUTS[name]) for name, tensor in tensors.items()}


def pack_probe(feature_hash: str = "0" * 16) -> dict[str, Array]:
    """Input tensors that ask for `info` alone; the hash of such a request is not compared."""
    empty: Array = np.zeros(0)
    tensors = dict.fromkeys(INPUTS, empty) | {"feature_hash": np.array([hash_number(feature_hash)])}
    return {name: _as_wire(tensor, INPUTS[name]) for name, tensor in tensors.items()}


def is_probe(tensors: Mapping[str, Array]) -> bool:
    """Whether the request asks for `info` alone."""
    tensor = tensors.get("num_candidates")
    return tensor is not None and tensor.size == 1 and int(tensor.reshape(-1)[0]) == 0


def feature_hash_of(tensors: Mapping[str, Array]) -> int:
    """The schema's hash with which the request was made, as `hash_number` gives it. Raises FormatError."""
    return int(_flat(tensors, "feature_hash", 1)[0])


def unpack_request(tensors: Mapping[str, Array], widths: Widths) -> FeatureBatch:
    """The inverse of `pack_request`, without copies. Raises FormatError or TooLargeError naming the tensor."""
    num_candidates = int(_flat(tensors, "num_candidates", 1)[0])
    if num_candidates < 0:
        raise FormatError("must not be negative", field="num_candidates", value=num_candidates)
    if num_candidates > MAX_CANDIDATES:
        raise TooLargeError(f"more than {MAX_CANDIDATES}", field="num_candidates", value=num_candidates)
    return FeatureBatch(
        _side(tensors, "request", 1, widths.request_dense, widths.request_keys),
        _side(tensors, "candidate", num_candidates, widths.candidate_dense, widths.candidate_keys),
        np.zeros(num_candidates, dtype=np.int32),
        _flat(tensors, OPTIONAL, 1) if OPTIONAL in tensors else None,
    )


def _side(tensors: Mapping[str, Array], side: str, rows: int, num_dense: int, num_keys: int) -> Side:
    dense = _flat(tensors, f"{side}_dense", rows * num_dense)
    if not np.isfinite(dense).all():
        raise FormatError("holds a number that is not finite", field=f"{side}_dense")
    lengths = _flat(tensors, f"{side}_lengths", rows * num_keys)
    if len(lengths) and int(lengths.min()) < 0:
        raise FormatError("must not be negative", field=f"{side}_lengths", value=int(lengths.min()))
    ids = _flat(tensors, f"{side}_ids", int(lengths.sum(dtype=np.int64)))
    return Side(dense.reshape(rows, num_dense), ids, lengths.reshape(num_keys, rows))


def _flat(tensors: Mapping[str, Array], name: str, expected: int) -> Array:
    """The tensor's elements (expected,), of its declared type. Raises FormatError."""
    tensor = tensors.get(name)
    if tensor is None:
        raise FormatError("is missing", field=name, remedy=f"send the tensors {', '.join(INPUTS)}")
    if tensor.dtype != _DTYPES[name]:
        raise FormatError(f"is not {INPUTS[name]}", field=name, value=str(tensor.dtype))
    if tensor.size != max(1, expected):
        raise FormatError(f"has {tensor.size} elements where {max(1, expected)} are due", field=name,
                          remedy="see streams/contract/wire.py for the shapes")  # fmt: skip
    return tensor.reshape(-1)[:expected]


def _as_wire(tensor: Array, datatype: str) -> Array:
    flat = np.ascontiguousarray(tensor, dtype=NUMPY_DTYPES[datatype]).reshape(1, -1)
    return flat if flat.size else np.zeros((1, 1), dtype=NUMPY_DTYPES[datatype])

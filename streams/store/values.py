"""Single values of the store as what they mean; anything else under their keys is refused by the key's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from streams.contract.columns import Array
from streams.contract.errors import FormatError
from streams.contract.manifest import pack_tensor, unpack_tensor

_REMEDY = "publish a new generation, and see what else writes to this Redis"

Value = TypeVar("Value")


def from_json(packed: bytes, kind: type[Value], key: str) -> Value:
    """The value of `kind` in JSON. Raises FormatError naming the key."""
    try:
        return msgspec.json.decode(packed, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"is not what Freshet wrote: {error}", field=key, value=packed[:80],
                          remedy=_REMEDY) from error  # fmt: skip


def pack_dense(version: int, dense: Mapping[str, Array]) -> bytes:
    """Dense parameters and the version whose they are, as MessagePack."""
    return msgspec.msgpack.encode({
        "version": version, "tensors": {name: pack_tensor(tensor) for name, tensor in dense.items()}
    })  # fmt: skip


def unpack_dense(packed: bytes, key: str) -> tuple[int, dict[str, Array]]:
    """The inverse of `pack_dense`. Raises FormatError naming the key."""
    try:
        fields = msgspec.msgpack.decode(packed, type=_Dense)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"is not what Freshet wrote: {error}", field=key, value=packed[:80],
                          remedy=_REMEDY) from error  # fmt: skip
    return fields.version, {name: unpack_tensor(tensor) for name, tensor in fields.tensors.items()}


class _Dense(msgspec.Struct):
    version: int
    tensors: dict[str, dict[str, Any]]

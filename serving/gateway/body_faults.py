"""Why a body could not be read, said so that its sender can mend it. Runs only after decoding has failed."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from streams.contract.errors import FormatError, InputError
from streams.contract.misfit import misfit

_REMEDY = "see /docs for the fields"


def body_fault(error: Exception, body: bytes, *, packed: bool) -> InputError:
    """What to raise for a body on which the decoder failed: FormatError where it is malformed, else InputError."""
    if isinstance(error, msgspec.ValidationError):
        what, field, value = misfit(error, _content(body, packed))
        return _non_finite(body, packed) or InputError(what, field=field or "body", value=value, remedy=_REMEDY)
    kind = "MessagePack" if packed else "JSON"
    fault = _non_finite(body, packed)
    return fault or FormatError(f"is not {kind}: {error}", field="body", value=body[:80], remedy=f"send valid {kind}")


def _content(body: bytes, packed: bool) -> Any:
    """What the body holds; None where it does not fit its type and is malformed as well."""
    try:
        return msgspec.msgpack.decode(body) if packed else msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def find_non_finite(value: Any, path: str = "") -> tuple[str, float] | None:
    """The place and the value of the first NaN or infinity inside lists and maps."""
    if isinstance(value, float):
        return None if math.isfinite(value) else (path, value)
    if isinstance(value, dict):
        children = [(f"{path}.{name}" if path else str(name), child) for name, child in value.items()]
    elif isinstance(value, list):
        children = [(f"{path}[{row}]", child) for row, child in enumerate(value)]
    else:
        return None
    return next(filter(None, (find_non_finite(child, place) for place, child in children)), None)


def non_finite_fault(value: Any) -> InputError | None:
    """An InputError naming the first number inside `value` that is not finite, or None."""
    found = find_non_finite(value)
    if found is None:
        return None
    field, number = found
    return InputError("is not a finite number", field=field, value=number, remedy="send a finite number, or null")


def _non_finite(body: bytes, packed: bool) -> InputError | None:
    """The tokens NaN and Infinity are no JSON, but writers send them, and deserve to be told where."""
    if packed:
        return None
    try:
        return non_finite_fault(json.loads(body))
    except (ValueError, RecursionError):
        return None

"""Where a decoded body does not fit its type, and what stands there. Runs only after converting it has failed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

_STEP = re.compile(r"\.(\w+)|\[(\d+|\.\.\.)\]")
_NAMED = re.compile(r"field `([^`]+)`$")
_GOT = re.compile(r"got `(\w+)`")
_TYPES: dict[str, type] = {
    "str": str, "int": int, "float": float, "bool": bool, "array": list, "object": dict, "null": type(None)
}  # fmt: skip


def misfit(error: msgspec.ValidationError, content: Any) -> tuple[str, str, Any]:
    """(what is wrong, field, value) for the error that converting `content` raised; field "" is the whole of it.

    msgspec names entries of a map `[...]`: the first one that holds what it complains of is named instead.
    """
    what, _, place = str(error).partition(" - at ")
    path = place.strip("`").rpartition("$")[2]
    named = _NAMED.search(what)
    if named:
        path = f"{path}.{named[1]}"
    got = _GOT.search(what)
    steps = [name or index for name, index in _STEP.findall(path)]
    found = _find(content, steps, _TYPES.get(got[1]) if got else None)
    field, value = next(found, (path, None))
    return what, field.removeprefix("."), value


def _find(value: Any, steps: list[str], got: type | None, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of what stands at the end of `steps` and is of type `got` (None: any)."""
    if not steps:
        if got is None or type(value) is got:
            yield path, value
    elif isinstance(value, dict):
        names = list(value) if steps[0] == "..." else [name for name in (steps[0],) if name in value]
        for name in names:
            yield from _find(value[name], steps[1:], got, f"{path}.{name}")
    elif isinstance(value, list) and steps[0].isdecimal():
        yield from _find(value[int(steps[0])], steps[1:], got, f"{path}[{steps[0]}]")

"""Raw values to 64-bit ids and to numbers, vectorised over a column.

An id is the hash of a string (XXH3-64), or the bijective mix of an integer (SplitMix64), so
integers never collide. Ids depend on the value alone: features that share a table share its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xxhash

from streams.contract.errors import InputError

if TYPE_CHECKING:
    from streams.contract.schema import Feature

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

MISSING_ID = int(np.int64(0x6D69_7373_696E_6721))
"""The id of an absent single value: a row like any other, so absence can be learnt."""

_STRING_TRANSFORMS: dict[str, Callable[[str], str]] = {"lower": str.lower, "strip": str.strip}


def check_transforms(feature: Feature) -> None:
    """Raises InputError for a transform that the feature's kind does not have."""
    for spec in feature.transforms:
        name, *numbers = spec.split(":")
        known = _known_transforms(feature)
        if known.get(name) != len(numbers):
            raise InputError("unknown transform", field=f"{feature.name}.transforms", value=spec,
                             remedy=f"use one of {', '.join(sorted(known)) or 'none'}")  # fmt: skip
        try:
            [float(number) for number in numbers]
        except ValueError as error:
            raise InputError("needs numbers", field=f"{feature.name}.transforms", value=spec) from error


def _known_transforms(feature: Feature) -> dict[str, int]:
    """Transform -> how many numbers follow it, as `clip:0:100`."""
    if feature.kind == "dense":
        return {"log1p": 0, "sqrt": 0, "clip": 2, "scale": 2}
    if feature.dtype == "float":
        return {"log2": 0}
    return {"lower": 0, "strip": 0} if feature.dtype == "string" else {"log2": 0}


def mix64(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser: a bijection of 64-bit integers (Steele et al. 2014). `values` has a dimension or more."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    shifted = z >> np.uint64(30)
    for factor, bits in ((0xBF58476D1CE4E5B9, 27), (0x94D049BB133111EB, 31)):
        z ^= shifted
        z *= np.uint64(factor)
        np.right_shift(z, np.uint64(bits), out=shifted)
    z ^= shifted
    return z


def ids_of(feature: Feature, values: npt.NDArray[Any] | Sequence[Any]) -> Ids:
    """One id a value (N,) int64; None becomes MISSING_ID. Raises InputError naming the value and its place."""
    if feature.dtype == "string":
        return _string_ids(feature, values)
    numbers, missing = _numbers(feature, values)
    if "log2" in feature.transforms:
        numbers = np.sign(numbers) * np.floor(np.log2(1.0 + np.abs(numbers)))
    ids = mix64(numbers.astype(np.int64).view(np.uint64)).view(np.int64)
    return np.where(missing, MISSING_ID, ids) if missing.any() else ids


def _string_ids(feature: Feature, values: npt.NDArray[Any] | Sequence[Any]) -> Ids:
    steps = [_STRING_TRANSFORMS[name] for name in feature.transforms]
    for step in steps:
        values = [value if value is None else step(value) for value in _strings(feature, values)]
    try:
        digests = b"".join(map(xxhash.xxh3_64_digest, map(str.encode, values)))
        return np.frombuffer(digests, dtype=">i8").astype(np.int64)
    except (TypeError, UnicodeEncodeError):
        strings = _strings(feature, values)
    digest = xxhash.xxh3_64_intdigest
    hashed = [MISSING_ID if value is None else digest(value.encode("utf-8", "surrogatepass")) for value in strings]
    return np.array([h & 0xFFFF_FFFF_FFFF_FFFF for h in hashed], dtype=np.uint64).view(np.int64)


def _strings(feature: Feature, values: npt.NDArray[Any] | Sequence[Any]) -> list[str | None]:
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, str):
            raise InputError(f"entry {row} is not a string", field=feature.name, value=_plain(value),
                             remedy='send strings, or set dtype = "int" in the schema')  # fmt: skip
    return list(values)


def _numbers(
    feature: Feature, values: npt.NDArray[Any] | Sequence[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """(values with 0 where missing (N,), which are missing (N,)); checks the type and that all are finite."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "if":
        numbers, missing = values, np.zeros(len(values), dtype=np.bool_)
    elif type(None) not in set(map(type, values)):
        numbers, missing = _number_array(feature, values), np.zeros(len(values), dtype=np.bool_)
    else:
        missing = np.array([value is None for value in values], dtype=np.bool_)
        numbers = _number_array(feature, [0 if value is None else value for value in values])
    if numbers.dtype.kind == "f":
        _check_finite(feature, numbers)
        if feature.dtype == "int":
            _check_whole(feature, numbers)
    return numbers, missing


def _number_array(feature: Feature, values: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[Any]:
    kinds = set(map(type, values))
    if not kinds <= {int, float}:
        row = next(row for row, value in enumerate(values) if type(value) not in (int, float))
        raise InputError(f"entry {row} is not a number", field=feature.name, value=_plain(values[row]),
                         remedy="send a number or null")  # fmt: skip
    if float not in kinds:
        try:
            return np.array(values, dtype=np.int64)
        except OverflowError as error:
            raise InputError("does not fit 64 bits", field=feature.name, value=max(values, key=abs)) from error
    return np.array(values, dtype=np.float64)


def _check_whole(feature: Feature, numbers: npt.NDArray[Any]) -> None:
    fractional = numbers != np.floor(numbers)
    if fractional.any():
        row = int(np.argmax(fractional))
        raise InputError(f"entry {row} is not an integer", field=feature.name, value=float(numbers[row]),
                         remedy='send integers, or set dtype = "float" in the schema')  # fmt: skip
    if (np.abs(numbers) >= 2.0**63).any():
        raise InputError("does not fit 64 bits", field=feature.name, value=float(max(numbers, key=abs)))


def _check_finite(feature: Feature, numbers: npt.NDArray[Any]) -> None:
    finite = np.isfinite(numbers)
    if not finite.all():
        row = int(np.argmin(finite))
        raise InputError(f"entry {row} is not finite", field=feature.name, value=float(numbers[row]),
                         remedy="send a finite number, or null for the schema's default")  # fmt: skip


def dense_of(feature: Feature, values: npt.NDArray[Any] | Sequence[Any]) -> Floats:
    """One number a value (N,) float32, missing ones the schema's default, then transformed. Raises InputError."""
    numbers, missing = _numbers(feature, values)
    numbers = numbers.astype(np.float64)
    if missing.any():
        numbers[missing] = feature.default
    for spec in feature.transforms:
        numbers = _apply(spec, numbers)
    result = numbers.astype(np.float32)
    _check_finite(feature, result)
    return result


def _apply(spec: str, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    name, *text = spec.split(":")
    numbers = [float(t) for t in text]
    if name == "log1p":
        logs: npt.NDArray[Any] = np.sign(x) * np.log1p(np.abs(x))
        return logs
    if name == "sqrt":
        roots: npt.NDArray[Any] = np.sign(x) * np.sqrt(np.abs(x))
        return roots
    if name == "clip":
        return np.clip(x, numbers[0], numbers[1])
    assert name == "scale"
    return (x - numbers[0]) / numbers[1]


def cross_ids(parts: Sequence[Ids]) -> Ids:
    """One id (N,) for each combination of the parts' ids, order mattering."""
    crossed = parts[0].view(np.uint64)
    for part in parts[1:]:
        crossed = mix64(crossed) ^ part.view(np.uint64)
    return mix64(crossed).view(np.int64)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value

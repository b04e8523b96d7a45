"""The files of one checkpoint: writing each to the disk for good, and telling a whole one from a damaged one.

step-000000012345/
  MANIFEST.json             format, step, of each other file its size and checksum, and its own checksum
  state.json                plain values
  PART.safetensors ...      tensors
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from streams.contract.columns import Array
from streams.contract.errors import FormatError, InputError

FORMAT = 1
MANIFEST = "MANIFEST.json"
STATE = "state.json"
_SUFFIX = ".safetensors"
_CHUNK_BYTES = 1 << 22
_DAMAGED = "delete it, or restore it whole; the one before it is taken meanwhile"


@dataclass(frozen=True, slots=True)
class Content:
    """What one checkpoint holds."""

    step: int
    tensors: dict[str, dict[str, Array]]
    state: dict[str, Any]


def write_files(folder: Path, content: Content) -> None:
    """Writes all files of the checkpoint into an empty folder and waits until the disk has them.

    Raises OSError where it cannot.
    """
    for part, tensors in content.tensors.items():
        _write_tensors(folder / f"{part}{_SUFFIX}", tensors)
    _write_json(folder / STATE, content.state)
    files = {path.name: {"bytes": path.stat().st_size, "xxh3_128": checksum(path)} for path in sorted(folder.iterdir())}
    write_manifest(folder, {"format": FORMAT, "step": content.step, "files": files})
    sync(folder)


def read_files(folder: Path) -> Content:
    """The checkpoint in `folder`.

    Raises FormatError naming the file that is missing or damaged; InputError for another format.
    """
    try:
        return _read_files(folder)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"cannot be read: {error!r}", field=str(folder), remedy=_DAMAGED) from error


def _read_files(folder: Path) -> Content:
    manifest = _read_manifest(folder)
    if manifest.get("format") != FORMAT:
        older = isinstance(manifest.get("format"), int) and manifest["format"] < FORMAT
        raise InputError(f"is in checkpoint format {manifest.get('format')}, this version reads format {FORMAT}",
                         field=str(folder), value=manifest.get("format"),
                         remedy=_remedy(older=older))  # fmt: skip
    for name, expected in manifest["files"].items():
        if Path(name).name != name:
            raise FormatError("names a file elsewhere", field=str(folder / MANIFEST), value=name, remedy=_DAMAGED)
        _check(folder / name, expected)
    parts = [name.removesuffix(_SUFFIX) for name in manifest["files"] if name.endswith(_SUFFIX)]
    tensors = {part: dict(load_file(folder / f"{part}{_SUFFIX}")) for part in parts}
    return Content(manifest["step"], tensors, _read_json(folder / STATE))


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Writes MANIFEST.json with a checksum of its own content."""
    _write_json(folder / MANIFEST, {**manifest, "xxh3_128": _own_checksum(manifest)})


def checksum(path: Path) -> str:
    """XXH3-128 of the file, in hex: finds damage, not forgery."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Waits until the disk has the file, or the folder's list of names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remedy(*, older: bool) -> str:
    if older:
        return "resume it with the version of Freshet that wrote it, or move it away to train anew from the log"
    return "it was written by a newer version of Freshet: use that one, or move the checkpoint away"


def _read_manifest(folder: Path) -> dict[str, Any]:
    manifest = _read_json(folder / MANIFEST)
    if manifest.pop("xxh3_128", None) != _own_checksum(manifest):
        raise FormatError("does not have its checksum", field=str(folder / MANIFEST), remedy=_DAMAGED)
    return manifest


def _own_checksum(manifest: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(manifest, sort_keys=True).encode())


def _check(path: Path, expected: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise FormatError("is missing", field=str(path), remedy=_DAMAGED)
    if path.stat().st_size != expected["bytes"]:
        raise FormatError(f"has not its {expected['bytes']} bytes", field=str(path), value=path.stat().st_size,
                          remedy=_DAMAGED)  # fmt: skip
    if checksum(path) != expected["xxh3_128"]:
        raise FormatError("does not have its checksum", field=str(path), remedy=_DAMAGED)


def _write_tensors(path: Path, tensors: Mapping[str, Array]) -> None:
    try:
        save_file({name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}") from error
    sync(path)


def _write_json(path: Path, value: Any) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(value, file, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FormatError("is missing", field=str(path), remedy=_DAMAGED) from error
    except (OSError, ValueError) as error:
        raise FormatError(f"cannot be read: {error}", field=str(path), remedy=_DAMAGED) from error
    if not isinstance(value, dict):
        raise FormatError("is not a JSON object", field=str(path), remedy=_DAMAGED)
    return value

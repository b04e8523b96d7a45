"""One file that holds a run between two epochs: tensors by safetensors, plain values as JSON in its header.

It is written beside, synced and then renamed, so at any moment the file is whole: the newest or the one before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from streams.contract.errors import FormatError, InputError

FORMAT = 1
NAME = "run.safetensors"
_DAMAGED = "delete it to train anew"


def has_run(folder: Path | None) -> bool:
    """Whether a run's file lies there, whole or not."""
    return folder is not None and (folder / NAME).exists()


def write_run(folder: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Puts the run's file into the folder, in the place of the one before. Raises OSError where it cannot."""
    folder.mkdir(parents=True, exist_ok=True)
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {"format": str(FORMAT), "values": json.dumps(values, sort_keys=True), "xxh3_128": _checksum(held)}
    beside = folder / f"{NAME}.new"
    with beside.open("wb") as file:
        file.write(save(held, header))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(folder / NAME)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_run(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """(tensors, values) of the run in the folder, None where there is none.

    Raises FormatError where the file is damaged, InputError for another format.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        values = json.loads(header.get("values", "null"))
    except (SafetensorError, OSError, ValueError) as error:
        raise FormatError(f"cannot be read: {error}", field=str(path), remedy=_DAMAGED) from error
    if header.get("format") != str(FORMAT):
        raise InputError(f"is in format {header.get('format')}, this version reads {FORMAT}", field=str(path),
                         value=header.get("format"), remedy="delete it to train anew")  # fmt: skip
    if header.get("xxh3_128") != _checksum(tensors):
        raise FormatError("does not have its checksum", field=str(path), remedy=_DAMAGED)
    return tensors, values


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = xxhash.xxh3_128()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().data)
    return digest.hexdigest()

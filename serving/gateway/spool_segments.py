"""Segment files of the spool: what their bytes mean.

    000000000007.spool    magic, then frames:  key bytes (u32)  value bytes (u32)  CRC-32 (u32)  key  value

A torn frame at a segment's end was never acknowledged, and ends the segment.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

MAGIC = b"FRSPOOL1"
PATTERN = "[0-9]" * 12 + ".spool"

_LOGGER = logging.getLogger(__name__)
_FRAME = struct.Struct("<III")


class Spooled(NamedTuple):
    """One event: the key that chooses its partition, and its encoding."""

    key: bytes
    value: bytes


@dataclass(slots=True)
class Segment:
    """One file, and how many events it holds, read or not."""

    path: Path
    num_bytes: int
    num_events: int


def encode_frame(event: Spooled) -> bytes:
    """The event as it lies in a segment."""
    crc = zlib.crc32(event.value, zlib.crc32(event.key))
    return _FRAME.pack(len(event.key), len(event.value), crc) + event.key + event.value


def read_frames(path: Path, at: int) -> Iterator[tuple[Spooled, int]]:
    """(event, where its frame ends) from byte `at` on, up to the first frame that is torn or damaged."""
    with path.open("rb") as file:
        file.seek(at)
        while len(head := file.read(_FRAME.size)) == _FRAME.size:
            key_bytes, value_bytes, crc = _FRAME.unpack(head)
            body = file.read(key_bytes + value_bytes)
            if len(body) < key_bytes + value_bytes or zlib.crc32(body) != crc:
                return
            at += _FRAME.size + len(body)
            yield Spooled(body[:key_bytes], body[key_bytes:]), at


def scan(path: Path) -> Segment:
    """What a segment of an earlier run holds; one that holds nothing is deleted."""
    size = path.stat().st_size
    with path.open("rb") as file:
        intact = file.read(len(MAGIC)) == MAGIC
    ends = [end for _, end in read_frames(path, len(MAGIC))] if intact else []
    num_events, end = len(ends), (ends or [len(MAGIC)])[-1]
    if end < size:
        _LOGGER.warning("spool segment %s: %d bytes behind byte %d are torn and left out", path, size - end, end)
    if not num_events:
        path.unlink()
    return Segment(path, size, num_events)


def sync_folder(folder: Path) -> None:
    """Makes the names of new files durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_durably(file: int, data: bytes) -> None:
    """Writes all of `data` to the file descriptor and waits until it is on disk. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
    os.fsync(file)

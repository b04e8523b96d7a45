"""The examples of the last rounds on disk, a file a round, in the order in which they came.

    round-000000000012      record, record, ...
    record                  length of the payload (u32), its XXH3-64 (u64), the payload: encoded examples

Places and sizes of the records are kept in memory; what is read is checked. Rounds that are no
longer needed are dropped, and a round that grows too long is thinned evenly, so the disk is bounded.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from streams.contract.columns import Array
from streams.contract.errors import FormatError, UnavailableError
from streams.contract.examples import ExampleBatch, decode_examples, encode_examples

_HEADER = struct.Struct("<IQ")
_REMEDY = "delete the folder of rounds and resume from a checkpoint"


@dataclass(frozen=True, slots=True)
class _Record:
    at: int
    examples: int


class RoundStore:
    """Rounds by number. One process; not safe for several threads."""

    def __init__(self, folder: Path) -> None:
        """The folder is made, and what earlier runs left in it deleted, when something is first written."""
        self._folder = folder
        self._records: dict[int, list[_Record]] = {}
        self._begun = False

    def append(self, t: int, examples: ExampleBatch) -> None:
        """Adds a record to round t. Raises UnavailableError where the disk is full or cannot be written."""
        payload = encode_examples(examples)
        try:
            self._begin()
            with self._path(t).open("ab") as file:
                at = file.tell()
                file.write(_HEADER.pack(len(payload), xxhash.xxh3_64_intdigest(payload)) + payload)
        except OSError as error:
            raise self._unavailable(error) from error
        self._records.setdefault(t, []).append(_Record(at, len(examples)))

    def read(self, t: int, record: int) -> ExampleBatch:
        """One record. Raises FormatError naming round and record where it is damaged, UnavailableError."""
        at = self._records[t][record].at
        try:
            with self._path(t).open("rb") as file:
                file.seek(at)
                header = file.read(_HEADER.size)
                size, expected = _HEADER.unpack(header) if len(header) == _HEADER.size else (0, -1)
                payload = file.read(size)
        except OSError as error:
            raise self._unavailable(error) from error
        if len(payload) != size or xxhash.xxh3_64_intdigest(payload) != expected:
            raise FormatError("does not have its checksum", field=f"{self._path(t)} record {record}", remedy=_REMEDY)
        batch = decode_examples(payload)
        assert isinstance(batch, ExampleBatch), "only examples are appended"
        return batch

    def sizes(self, t: int) -> list[int]:
        """Examples of each record of round t; empty for a round that is not here."""
        return [record.examples for record in self._records.get(t, [])]

    def rounds(self) -> list[int]:
        """The rounds that are here, in order."""
        return sorted(self._records)

    def drop_before(self, t: int) -> None:
        """Deletes the rounds before t."""
        for old in [each for each in self._records if each < t]:
            del self._records[old]
            self._path(old).unlink(missing_ok=True)

    def thin(self, t: int) -> None:
        """Keeps every second record of round t."""
        kept = [self.read(t, record) for record in range(0, len(self._records[t]), 2)]
        del self._records[t]
        self._path(t).unlink()
        for batch in kept:
            self.append(t, batch)

    def state(self) -> dict[str, Array]:
        """Round by round its bytes, and the places and sizes of its records."""
        state: dict[str, Array] = {}
        for t, records in self._records.items():
            state[f"{t}/bytes"] = np.fromfile(self._path(t), dtype=np.uint8)
            state[f"{t}/records"] = np.array([(record.at, record.examples) for record in records], dtype=np.int64)
        return state

    def load_state(self, state: Mapping[str, Array]) -> None:
        """The inverse of `state`: the folder holds those rounds and no others. Raises UnavailableError."""
        self.drop_before(max(self._records, default=-1) + 1)
        try:
            self._begin()
            for path in state:
                t, _, part = path.partition("/")
                if part == "bytes":
                    state[path].tofile(self._path(int(t)))
                    self._records[int(t)] = [_Record(at, size) for at, size in state[f"{t}/records"].tolist()]
        except OSError as error:
            raise self._unavailable(error) from error

    def _begin(self) -> None:
        if not self._begun:
            self._folder.mkdir(parents=True, exist_ok=True)
            for old in self._folder.glob("round-*"):
                old.unlink()
            self._begun = True

    def _path(self, t: int) -> Path:
        return self._folder / f"round-{t:012d}"

    def _unavailable(self, error: OSError) -> UnavailableError:
        return UnavailableError(f"the rounds cannot be kept: {error}", field="rounds", value=str(self._folder),
                                remedy="free some disk space, or name another folder")  # fmt: skip

"""Writes the rows, tombstones and bundles of one version into their buckets."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

import msgspec
import numpy as np

from streams.contract.bundles import bundle_fields
from streams.contract.columns import Array
from streams.contract.manifest import Generation, Rows
from streams.contract.rows import bucket_key, buckets_of, generation_key, pack_rows, pack_tombstones, row_fields
from streams.store.generation_rows import GenerationRows, groups
from streams.store.redis_client import Command, RedisNodes

_FIELDS_A_COMMAND = 256
_COMMANDS_A_TRIP = 64


def _no_keys() -> Array:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class BundleWrite:
    """Bundles to write: keys (B,) int64 and their B values; and keys (K,) of bundles to remove."""

    keys: Array = field(default_factory=_no_keys)
    values: list[bytes] = field(default_factory=list)
    removed: Array = field(default_factory=_no_keys)


class RowWriter:
    """Writes into one generation; every method may be repeated. Raises UnavailableError where Redis is away."""

    def __init__(self, nodes: RedisNodes, generation: Generation) -> None:
        self._nodes = nodes
        self._generation = generation
        self._numbers = {table: number for number, table in enumerate(generation.tables)}

    def write_rows(self, version: int, rows: Mapping[str, Rows]) -> None:
        """Sets the rows of each table."""
        for table, changed in rows.items():
            fields = row_fields(self._numbers[table], changed.ids)
            values = pack_rows(version, changed.values, self._generation.row_encoding)
            self._set("rows", buckets_of(changed.ids), fields, values)

    def write_tombstones(self, version: int, tombstones: Mapping[str, Array]) -> None:
        """Puts a tombstone in the place of each row, and notes them for `drop_tombstones`."""
        evicted = {table: ids for table, ids in tombstones.items() if len(ids)}
        if not evicted:
            return
        packed = {table: ids.astype("<i8").tobytes() for table, ids in evicted.items()}
        note = msgspec.msgpack.encode({"wall_ms": time.time_ns() // 1_000_000, "tables": packed})
        self._nodes.execute([("HSET", self._notes_key, version, note)])
        for table, ids in evicted.items():
            markers = pack_tombstones(version, len(ids), self._generation.tables[table], self._generation.row_encoding)
            self._set("rows", buckets_of(ids), row_fields(self._numbers[table], ids), markers)

    def write_bundles(self, write: BundleWrite) -> None:
        """Sets and removes bundles."""
        self._set("ads", buckets_of(write.keys), bundle_fields(write.keys), write.values)
        self._delete("ads", buckets_of(write.removed), bundle_fields(write.removed))

    def drop_tombstones(self, before_wall_ms: int) -> int:
        """Deletes the tombstones noted before then, where no newer row took their place. Returns how many notes went.

        A reader that is further behind than that would take the row for one that was never there.
        """
        notes = self._nodes.execute([("HGETALL", self._notes_key)])[0]
        dropped = 0
        for version, packed in zip(notes[0::2], notes[1::2], strict=True):
            note = msgspec.msgpack.decode(packed)
            if note["wall_ms"] < before_wall_ms:
                for table, ids in note["tables"].items():
                    self._drop(table, np.frombuffer(ids, dtype="<i8"), int(version))
                self._nodes.execute([("HDEL", self._notes_key, version)])
                dropped += 1
        return dropped

    @property
    def _notes_key(self) -> str:
        return generation_key(self._generation.model, self._generation.generation, "tombstones")

    def _drop(self, table: str, ids: Array, version: int) -> None:
        number = self._numbers[table]
        now = GenerationRows(self._nodes, self._generation).fetch_rows({number: ids})
        ids = ids[~now.found & (now.versions == version)]
        self._delete("rows", buckets_of(ids), row_fields(number, ids))

    def _set(self, kind: str, buckets: Array, fields: list[bytes], values: list[bytes]) -> None:
        pairs = list(zip(fields, values, strict=True))
        self._send([
            ("HSET", key, *chain.from_iterable(pairs[place] for place in places))
            for key, places in self._places(kind, buckets)
        ])  # fmt: skip

    def _delete(self, kind: str, buckets: Array, fields: list[bytes]) -> None:
        self._send([("HDEL", key, *(fields[n] for n in places)) for key, places in self._places(kind, buckets)])

    def _places(self, kind: str, buckets: Array) -> list[tuple[str, Sequence[int]]]:
        """(bucket's key, places of its fields), a bounded number of fields each."""
        order = np.argsort(buckets, kind="stable").tolist()
        model, number = self._generation.model, self._generation.generation
        return [
            (bucket_key(model, number, bucket, kind), order[at : min(at + _FIELDS_A_COMMAND, end)])
            for bucket, start, end in groups(buckets[order])
            for at in range(start, end, _FIELDS_A_COMMAND)
        ]

    def _send(self, commands: list[Command]) -> None:
        left = iter(commands)
        while trip := list(islice(left, _COMMANDS_A_TRIP)):
            self._nodes.execute(trip)

"""The rows and bundles of one generation in Redis: fetched by id, scanned, written.

    ids ──> bucket ──> one HMGET a bucket, all in one trip a node ──> rows in the order of the ids

Each row comes with the version that wrote it; one that was evicted comes with the version that did that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from streams.contract.bundles import BundleLayout, Bundles, bundle_fields, bundle_keys, bundle_layout, decode_bundles
from streams.contract.columns import Array
from streams.contract.manifest import Generation
from streams.contract.rows import NUM_BUCKETS, bucket_key, buckets_of, joined, row_fields, unpack_rows
from streams.store.redis_client import Command, RedisNodes

_SCAN_COUNT = 512
_ROW_FIELD = np.dtype([("table", "<u2"), ("id", "<i8")])


@dataclass(frozen=True, slots=True)
class FetchedRows:
    """values (N, D) float32, zeros where absent; versions (N,) int64, 0 where Redis knows nothing; found (N,) bool.

    A version without a row: the row was evicted in that version.
    """

    values: Array
    versions: Array
    found: Array


@dataclass(frozen=True, slots=True)
class FetchedAds:
    """found (A,) bool, and the bundles of the ads that were found, in their order."""

    found: Array
    bundles: Bundles


@dataclass(frozen=True, slots=True)
class ScannedRows:
    """Rows as a scan met them: tables (N,) int64 numbers, ids (N,) int64, and what `FetchedRows` holds."""

    tables: Array
    ids: Array
    rows: FetchedRows


class GenerationRows:
    """Reads one generation's rows. Every method raises UnavailableError where Redis is away, FormatError where
    what lies there was not written by a `RowWriter`."""

    def __init__(self, nodes: RedisNodes, generation: Generation) -> None:
        """`generation` has tables of one dimension (RowStore.write_generation sees to it)."""
        self._nodes = nodes
        self._dim = next(iter(generation.tables.values()), 1)
        self._encoding = generation.row_encoding
        self.layout: BundleLayout = bundle_layout(generation)
        self._keys = {
            kind: [bucket_key(generation.model, generation.generation, n, kind) for n in range(NUM_BUCKETS)]
            for kind in ("rows", "ads")
        }

    def fetch_rows(self, rows: Mapping[int, Array]) -> FetchedRows:
        """The rows of `{table number: ids}`, in that order, in one trip a node."""
        return self.fetch(rows, np.zeros((0, self.layout.num_features), dtype=np.int64))[0]

    def fetch_ads(self, ads: Array) -> FetchedAds:
        """The bundles of ads, given by their ids (A, F) in the order of `layout`, in one trip a node."""
        return self.fetch({}, ads)[1]

    def fetch(self, rows: Mapping[int, Array], ads: Array) -> tuple[FetchedRows, FetchedAds]:
        """Both of the above in one trip a node."""
        ids = np.concatenate([np.zeros(0, dtype=np.int64), *rows.values()])
        fields = list(chain.from_iterable(row_fields(table, of_table) for table, of_table in rows.items()))
        keys = bundle_keys(ads) if self.layout.num_features else np.zeros(0, dtype=np.int64)
        row_commands, row_order = self._lookups("rows", buckets_of(ids), fields)
        ad_commands, ad_order = self._lookups("ads", buckets_of(keys), bundle_fields(keys))
        replies = self._nodes.execute(row_commands + ad_commands)
        packed_rows = _in_order(replies[: len(row_commands)], row_order)
        packed_ads = _in_order(replies[len(row_commands) :], ad_order)
        return self._rows(packed_rows), self._ads(packed_ads, ads)

    def scan_rows(self) -> Iterator[ScannedRows]:
        """All rows, in no order, a few thousand at a time. One that changes meanwhile may come twice."""
        for fields, values in self._scan("rows"):
            known = np.frombuffer(joined(fields, _ROW_FIELD.itemsize, "row's field"), dtype=_ROW_FIELD)
            yield ScannedRows(known["table"].astype(np.int64), known["id"].astype(np.int64), self._rows(values))

    def scan_ads(self) -> Iterator[Bundles]:
        """All bundles, in no order, a few thousand at a time."""
        for _, values in self._scan("ads"):
            yield decode_bundles(self.layout, values)

    def _lookups(self, kind: str, buckets: Array, fields: list[bytes]) -> tuple[list[Command], list[int]]:
        """(one HMGET a bucket, place of each of the values that they return)."""
        order = np.argsort(buckets, kind="stable")
        places = order.tolist()
        return [
            ("HMGET", self._keys[kind][bucket], *[fields[place] for place in places[start:end]])
            for bucket, start, end in groups(buckets[order])
        ], places

    def _rows(self, packed: Sequence[bytes | None]) -> FetchedRows:
        known = np.array([value is not None for value in packed], dtype=np.bool_)
        values = np.zeros((len(packed), self._dim), dtype=np.float32)
        versions = np.zeros(len(packed), dtype=np.int64)
        found = np.zeros(len(packed), dtype=np.bool_)
        versions[known], found[known], values[known] = unpack_rows(
            [value for value in packed if value is not None], self._dim, self._encoding
        )
        return FetchedRows(values, versions, found)

    def _ads(self, packed: Sequence[bytes | None], ads: Array) -> FetchedAds:
        found = np.array([value is not None for value in packed], dtype=np.bool_)
        bundles = decode_bundles(self.layout, [value for value in packed if value is not None])
        same = (bundles.ids == ads[found]).all(axis=1)
        if not same.all():
            found[np.flatnonzero(found)[~same]] = False
            bundles = decode_bundles(self.layout, [value for value, is_found in zip(packed, found, strict=True)
                                                   if value is not None and is_found])  # fmt: skip
        return FetchedAds(found, bundles)

    def _scan(self, kind: str) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """(fields, values) of all buckets, as many buckets a trip as there are left."""
        cursors: dict[str, Any] = dict.fromkeys(self._keys[kind], b"0")
        while cursors:
            commands = [("HSCAN", key, cursor, "COUNT", _SCAN_COUNT) for key, cursor in cursors.items()]
            pairs: list[bytes] = []
            for key, (cursor, found) in zip(list(cursors), self._nodes.execute(commands), strict=True):
                pairs += found
                if int(cursor) == 0:
                    del cursors[key]
                else:
                    cursors[key] = cursor
            if pairs:
                yield pairs[0::2], pairs[1::2]


def groups(ordered: Array) -> list[tuple[int, int, int]]:
    """(value, start, end) of each run of equal values in a sorted array."""
    values, starts = np.unique(ordered, return_index=True)
    ends = np.append(starts, len(ordered))[1:]
    return list(zip(values.tolist(), starts.tolist(), ends.tolist(), strict=True))


def _in_order(replies: list[list[bytes | None]], order: list[int]) -> list[bytes | None]:
    values: list[bytes | None] = [None] * len(order)
    for place, value in zip(order, chain.from_iterable(replies), strict=True):
        values[place] = value
    return values

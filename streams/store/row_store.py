"""The Redis side of a model: generations, their versions, the pointer to the live one.

Redis is a materialised view of `model-updates`: a publisher writes it, scorers read it, and what is
lost is written again from the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from streams.contract.columns import Array
from streams.contract.errors import ConflictError, InputError, NotFoundError
from streams.contract.manifest import Generation, Manifest, Rows
from streams.contract.rows import NUM_BUCKETS, bucket_key, generation_key, generations_key, live_key
from streams.contract.settings import settings_from
from streams.store.generation_rows import FetchedAds, FetchedRows, GenerationRows, ScannedRows
from streams.store.redis_client import RedisConfig, RedisNodes, connect_redis
from streams.store.row_writer import BundleWrite, RowWriter
from streams.store.values import from_json, pack_dense, unpack_dense

_BUCKETS_A_TRIP = 8
_NUM_REFUSED = 100
_NUM_APPLIED = 1000
_NAMES = ("head", "promote", "dense", "applied", "tombstones")


def open_row_store(
    address: str, *, model: str, password: str | None = None, config: RedisConfig | None = None
) -> RowStore:
    """The model's store in the Redis or cluster at `address`; the password is FRESHET_REDIS_PASSWORD unless given.

    Raises InputError and UnavailableError as `connect_redis` does.
    """
    secret = settings_from().redis_password if password is None else password
    return RowStore(connect_redis(address, password=secret, config=config), model)


class RowStore:
    """One model in Redis. Safe to use from several threads; one writer at a time.

    Every method raises UnavailableError where Redis is away, FormatError where something else lies
    under its keys, and those that name a generation NotFoundError where there is none of that number.
    """

    def __init__(self, nodes: RedisNodes, model: str) -> None:
        self.model = model
        self.nodes = nodes
        self._rows: dict[int, GenerationRows] = {}
        self._generations: dict[int, Generation] = {}

    def close(self) -> None:
        """Frees the connections."""
        self.nodes.close()

    # generations

    def generations(self) -> list[int]:
        """The generations kept, oldest first, those without a version yet included."""
        return sorted(map(int, self._ask("SMEMBERS", generations_key(self.model))))

    def generation(self, generation: int) -> Generation:
        """What the generation is."""
        if generation not in self._generations:
            packed = self._ask("GET", self._key(generation, "manifest"))
            if packed is None:
                raise self._unknown(generation)
            self._generations[generation] = from_json(packed, Generation, self._key(generation, "manifest"))
        return self._generations[generation]

    def programs(self, generation: int) -> dict[str, bytes]:
        """The exported programs of the dense network, by name."""
        self.generation(generation)
        names = sorted(name.decode() for name in self._ask("SMEMBERS", self._key(generation, "programs")))
        programs = self.nodes.execute([("GET", self._key(generation, f"program:{name}")) for name in names])
        return dict(zip(names, programs, strict=True))

    def program(self, generation: int, name: str) -> bytes:
        """One of them. Raises NotFoundError where the generation has none of that name."""
        packed: bytes | None = self._ask("GET", self._key(generation, f"program:{name}"))
        if packed is None:
            raise NotFoundError(f"generation {generation} of {self.model} has no such program", field="program",
                                value=name, remedy="start a new generation")  # fmt: skip
        return packed

    def write_generation(self, generation: Generation, programs: Mapping[str, bytes], *, promote: bool = False) -> None:
        """Makes a generation known. It has no version until `write_version`, and nobody can make it live before.

        `promote` asks `make_live_if_asked` to make it live when it has one.
        """
        if len(set(generation.tables.values())) > 1:
            raise InputError("tables of several dimensions cannot be served", field="tables", value=generation.tables,
                             remedy="give every feature the same dim")  # fmt: skip
        number = generation.generation
        for name, program in programs.items():
            self.nodes.execute([("SET", self._key(number, f"program:{name}"), program)])
        if programs:
            self._ask("SADD", self._key(number, "programs"), *programs)
        if promote:
            self._ask("SET", self._key(number, "promote"), 1)
        self._ask("SET", self._key(number, "manifest"), msgspec.json.encode(generation))
        self._ask("SADD", generations_key(self.model), number)
        self._generations.pop(number, None)

    # versions

    def head(self, generation: int) -> Manifest | None:
        """The newest version whose rows are all written; None before the first."""
        packed = self._ask("GET", self._key(generation, "head"))
        return None if packed is None else from_json(packed, Manifest, self._key(generation, "head"))

    def dense(self, generation: int) -> tuple[int, dict[str, Array]]:
        """(version, dense parameters). The version may be one ahead of `head`; its rows are all written."""
        packed = self._ask("GET", self._key(generation, "dense"))
        if packed is None:
            raise self._unknown(generation)
        return unpack_dense(packed, self._key(generation, "dense"))

    def write_version(
        self,
        manifest: Manifest,
        dense: Mapping[str, Array],
        rows: Mapping[str, Rows],
        tombstones: Mapping[str, Array],
        bundles: BundleWrite,
    ) -> None:
        """Writes a version; after a crash it can be written again.

        1. rows and bundles, then tombstones    2. dense parameters    3. head
        """
        number = manifest.generation
        writer = self.writer(number)
        # 1. rows and bundles, then tombstones
        writer.write_rows(manifest.version, rows)
        writer.write_tombstones(manifest.version, tombstones)
        writer.write_bundles(bundles)
        # 2. dense parameters
        self._ask("SET", self._key(number, "dense"), pack_dense(manifest.version, dense))
        # 3. head
        self._ask("SET", self._key(number, "head"), msgspec.json.encode(manifest))

    def writer(self, generation: int) -> RowWriter:
        """Writes single parts of a generation."""
        return RowWriter(self.nodes, self.generation(generation))

    # rows

    def rows(self, generation: int) -> GenerationRows:
        """Reads the rows of a generation."""
        if generation not in self._rows:
            self._rows[generation] = GenerationRows(self.nodes, self.generation(generation))
        return self._rows[generation]

    def fetch_rows(self, generation: int, rows: Mapping[int, Array]) -> FetchedRows:
        """The rows of `{table number: ids}`, in that order, in one trip a node."""
        return self.rows(generation).fetch_rows(rows)

    def fetch_ads(self, generation: int, ads: Array) -> FetchedAds:
        """The bundles of ads, given by their ids (A, F), in one trip a node."""
        return self.rows(generation).fetch_ads(ads)

    def fetch(self, generation: int, rows: Mapping[int, Array], ads: Array) -> tuple[FetchedRows, FetchedAds]:
        """Single rows and bundles in one trip a node."""
        return self.rows(generation).fetch(rows, ads)

    def scan_rows(self, generation: int) -> Iterator[ScannedRows]:
        """All rows of a generation, in no order."""
        return self.rows(generation).scan_rows()

    # which one is live

    def live(self) -> int | None:
        """The live generation, None before the first."""
        packed = self._ask("GET", live_key(self.model))
        return None if packed is None else from_json(packed, int, live_key(self.model))

    def set_live(self, generation: int) -> None:
        """Points at a generation, dense and rows together. Raises ConflictError where it has no whole version."""
        if generation not in self.generations():
            raise self._unknown(generation)
        if self.head(generation) is None:
            raise ConflictError("has no whole version", field="generation", value=generation,
                                remedy="wait until its first version is published")  # fmt: skip
        self._ask("SET", live_key(self.model), generation)

    def make_live_if_asked(self, generation: int) -> int | None:
        """Makes it live where it has a version, and no other is live or its writer asked. Returns the live one then."""
        key = self._key(generation, "promote")
        live, asked, head = self.nodes.execute([
            ("GET", live_key(self.model)), ("EXISTS", key), ("EXISTS", self._key(generation, "head")),
        ])  # fmt: skip
        if head and (asked or live is None):
            self.set_live(generation)
            self._ask("UNLINK", key)
            return generation
        return None if live is None else int(live)

    def promote(self, generation: int) -> Generation:
        """Makes a generation live. Raises ConflictError where it has no whole version."""
        self.set_live(generation)
        return self.generation(generation)

    def rollback(self, generation: int | None = None) -> Generation:
        """Makes an older generation live: the one given, or the newest whole one before the live one.

        Raises ConflictError where the one given is not older than the live one, NotFoundError where there is none.
        """
        live = self.live() or 0
        if generation is None:
            older = [g for g in self.generations() if g < live and self.head(g) is not None]
            if not older:
                raise NotFoundError("there is no older generation", field="generation", value=live)
            generation = older[-1]
        if generation >= live:
            raise ConflictError("is not older than the live one", field="generation", value=generation,
                                remedy="use promote")  # fmt: skip
        return self.promote(generation)

    def collect(self, generation: int) -> None:
        """Deletes a generation, a few buckets at a time; may be repeated. Raises ConflictError for the live one."""
        if generation == self.live():
            raise ConflictError("is live", field="generation", value=generation, remedy="make another one live first")
        if generation not in self.generations():
            raise self._unknown(generation)
        programs = [f"program:{n.decode()}" for n in self._ask("SMEMBERS", self._key(generation, "programs"))]
        # Without a head it cannot be made live while it goes.
        keys = [self._key(generation, name) for name in (*_NAMES, *programs, "programs")]
        keys += [bucket_key(self.model, generation, n, kind) for n in range(NUM_BUCKETS) for kind in ("rows", "ads")]
        keys.append(self._key(generation, "manifest"))
        for start in range(0, len(keys), _BUCKETS_A_TRIP):
            self.nodes.execute([("UNLINK", key) for key in keys[start : start + _BUCKETS_A_TRIP]])
        self._ask("SREM", generations_key(self.model), generation)
        self._generations.pop(generation, None)
        self._rows.pop(generation, None)

    # reports

    def report_applied(self, generation: int, version: int, wall_ms: int) -> None:
        """Notes when a scorer applied a version; the first one's note stays."""
        key = self._key(generation, "applied")
        self.nodes.execute([("HSETNX", key, version, wall_ms), ("HDEL", key, version - _NUM_APPLIED)])

    def applied(self, generation: int) -> dict[int, int]:
        """Version -> wall milliseconds when it was applied first."""
        pairs = self._ask("HGETALL", self._key(generation, "applied"))
        return dict(sorted(zip(map(int, pairs[0::2]), map(int, pairs[1::2]), strict=True)))

    def report_refused(self, refusal: Mapping[str, Any]) -> None:
        """Notes a version that the gate refused; the newest hundred are kept."""
        key = f"freshet:{self.model}:refused"
        self.nodes.execute([("LPUSH", key, msgspec.json.encode(refusal)), ("LTRIM", key, 0, _NUM_REFUSED - 1)])

    def refused(self) -> list[dict[str, Any]]:
        """The newest refused versions with their reasons, newest first."""
        key = f"freshet:{self.model}:refused"
        return [from_json(packed, dict[str, Any], key) for packed in self._ask("LRANGE", key, 0, -1)]

    def _key(self, generation: int, name: str) -> str:
        return generation_key(self.model, generation, name)

    def _unknown(self, generation: int) -> NotFoundError:
        return NotFoundError(f"model {self.model} has no such generation", field="generation", value=generation,
                             remedy="see `freshet model list`")  # fmt: skip

    def _ask(self, *command: Any) -> Any:
        return self.nodes.execute([command])[0]

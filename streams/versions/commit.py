"""How a delta becomes a version: appended to the log, then written to Redis, in an order that bears a crash.

A new generation:
    0  its manifest and programs to Redis           it has no head yet, so nobody can make it live
Every version, gated before:
    1  the version to `model-updates`, in one transaction      from here on it exists
    2  rows, tombstones and bundles to Redis
    3  dense parameters, then head                             from here on Redis holds it whole
    4  the live pointer                                        first generation, or promotion asked for

A crash before 1 leaves nothing; one between 1 and 4 is made good by `recover`, which writes what the log
has and Redis has not. Every write may be repeated.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from streams.contract.bundles import bundle_layout
from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.manifest import Generation, Manifest, ModelUpdate
from streams.contract.schema import Schema, schema_to_json
from streams.counters.rows import served_tables
from streams.log.event_log import MODEL_UPDATES, EventLog
from streams.store.row_store import RowStore
from streams.store.row_writer import BundleWrite
from streams.versions.bundle_index import BundleConfig, BundleIndex
from streams.versions.updates_topic import UpdatesTopic

OFFSET = "updates_offset"
"""In `extra` of the head that Redis holds: the offset behind that version in `model-updates`."""


@dataclass(frozen=True, kw_only=True)
class PublishTarget:
    """Where versions go, and what the model is. `store` names the model."""

    log: EventLog
    store: RowStore
    schema: Schema
    network: Mapping[str, Any]
    programs: Mapping[str, bytes]
    recipe: str = ""
    topic: str = MODEL_UPDATES
    """Where the model's versions travel: publishers of two models must not share one, as their records would mix."""
    row_encoding: str = "fp32"
    new_generation: bool = False
    """Start one even where the newest could be continued: the trainer does not go on from its checkpoint."""
    promote: bool = False
    """Make a new generation live with its first version; the very first one always becomes live."""
    bundles: BundleConfig = field(default_factory=BundleConfig)

    def __post_init__(self) -> None:
        served_tables(self.schema)
        if self.schema.counters and self.row_encoding != "fp32":
            raise InputError("does not hold counters exactly", field="row_encoding", value=self.row_encoding,
                             remedy="use fp32, or a schema without counters")  # fmt: skip


class Committer:
    """The steps above. For one thread; every method raises UnavailableError and may then be called again."""

    def __init__(self, target: PublishTarget) -> None:
        self._target = target
        self._store = target.store
        self._topic = UpdatesTopic(target.log, target.store.model, target.topic)
        self._position = 0
        self._newest = 0
        self._promote = target.promote
        self._index: tuple[int, BundleIndex] | None = None
        self._bundles: tuple[int, BundleWrite] | None = None
        self.generation: Generation | None = None
        self.head: Manifest | None = None
        """The newest version of `generation`, None before its first."""
        self.live: int | None = None

    @property
    def next_version(self) -> int:
        """Versions rise across generations and restarts."""
        return self._newest + 1

    def recover(self) -> None:
        """Claims the model, makes Redis whole, and finds the generation to continue or prepares a new one."""
        self._topic.claim()
        newest_version, newest_generation = self._topic.newest_numbers()
        kept = self._store.generations()
        heads = {number: head for number in kept if (head := self._store.head(number)) is not None}
        self._newest = max([newest_version, *(head.version for head in heads.values())])
        is_whole = self._catch_up(kept, heads)
        self.live = self._store.make_live_if_asked(kept[-1]) if kept else None
        continued = kept[-1] if is_whole and kept and self._fits(kept[-1]) else None
        if continued is None:
            self.start_generation(after=max([0, newest_generation, *kept]))
        else:
            self.generation, self.head = self._store.generation(continued), self._store.head(continued)

    def start_generation(self, *, after: int) -> None:
        """Prepares a generation with a number behind `after`; Redis learns of it with its first version.

        It takes the place of its forerunner where that one is live and built on until now.
        """
        was_live = self.generation is not None and self.live == self.generation.generation
        self._promote = self._target.promote or was_live
        schema = self._target.schema
        self.generation = Generation(
            model=self._store.model, generation=after + 1, first_version=self.next_version, feature_hash=schema.hash,
            schema=schema_to_json(schema), tables=served_tables(schema), network=dict(self._target.network),
            row_encoding=self._target.row_encoding, created_ms=_now_ms(), updates_offset=self._topic.end(),
        )  # fmt: skip
        self.head = None

    def write_generation(self) -> None:
        """Step 0, where the generation has no version yet."""
        assert self.generation is not None
        if self.head is None:
            self._store.write_generation(self.generation, self._target.programs, promote=self._promote)

    def append(self, update: ModelUpdate) -> None:
        """Step 1. Where an earlier try ended in doubt, call `was_appended` first."""
        self._topic.append(update)
        self._took(update.manifest.version, self._topic.end())

    def was_appended(self, version: int) -> bool:
        """Whether a try at step 1 that ended with an error had gone through all the same."""
        self._topic.claim()
        for update, behind in self._topic.behind(self._position):
            if update.manifest.version == version:
                self._took(version, behind)
                return True
        return False

    def is_store_whole(self) -> bool:
        """Whether Redis still holds what was written last: one that lost its data must not be written on."""
        assert self.generation is not None
        if self.head is None:
            return True
        stored = self._store.head(self.generation.generation)
        return stored is not None and stored.version == self.head.version

    def write(self, update: ModelUpdate, ads: Array | None = None) -> None:
        """Steps 2 to 4; `ads` (A, F) are the ads seen, columns as in the bundle layout."""
        number = update.manifest.generation
        if self.generation is not None:
            self.write_generation()
        extra = {**update.manifest.extra, OFFSET: self._position}
        manifest = msgspec.structs.replace(update.manifest, extra=extra)
        # 2. rows, tombstones and bundles   3. dense parameters, then head
        bundles = self._bundles_of(update, ads)
        self._store.write_version(manifest, update.dense, update.rows, update.tombstones, bundles)
        # 4. the live pointer
        self.live = self._store.make_live_if_asked(number)
        self.head = manifest

    def _bundles_of(self, update: ModelUpdate, ads: Array | None) -> BundleWrite:
        """What the version does to the bundles: worked out once, since the index then counts it as written."""
        version, number = update.manifest.version, update.manifest.generation
        if self._bundles is None or self._bundles[0] != version:
            index, rows = self._index_of(number), self._store.rows(number)
            tables = {table: place for place, table in enumerate(self._store.generation(number).tables)}
            changed = {tables[table]: of_table for table, of_table in update.rows.items()}
            tombstones = {tables[table]: ids for table, ids in update.tombstones.items()}
            seen = np.zeros((0, rows.layout.num_features), dtype=np.int64) if ads is None else ads
            self._bundles = version, index.apply(version, changed, tombstones, seen, rows.fetch_rows)
        return self._bundles[1]

    def _took(self, version: int, position: int) -> None:
        self._newest, self._position = version, position

    def _catch_up(self, kept: list[int], heads: dict[int, Manifest]) -> bool:
        """Writes versions behind the newest head to Redis. False where the log does not go back that far."""
        newest = max(heads.values(), key=lambda head: head.version, default=None)
        waiting = [self._store.generation(number).updates_offset for number in kept if number not in heads]
        if newest is None and not waiting:
            self._position = self._topic.end()
            return True
        self._position = min(waiting) if newest is None else newest.extra.get(OFFSET, 0)
        written = 0 if newest is None else newest.version
        try:
            for update, behind in self._topic.behind(self._position):
                if update.manifest.version > written and update.manifest.generation in kept:
                    self._took(update.manifest.version, behind)
                    self.write(update)
        except InputError:
            self._position = self._topic.end()
            return False
        return True

    def _fits(self, number: int) -> bool:
        """Whether the trainer's model goes on building on that generation."""
        if self._target.new_generation:
            return False
        generation, head, target = self._store.generation(number), self._store.head(number), self._target
        plain = msgspec.json.decode(msgspec.json.encode(dict(target.network)))
        same_model = (generation.feature_hash, generation.row_encoding) == (target.schema.hash, target.row_encoding)
        return head is not None and same_model and generation.network == plain and head.recipe == target.recipe

    def _index_of(self, number: int) -> BundleIndex:
        """The generation's bundles, read from Redis where this process has not written them all itself."""
        if self._index is not None and self._index[0] == number:
            return self._index[1]
        generation = self._store.generation(number)
        index = BundleIndex(bundle_layout(generation), self._target.bundles)
        surplus = [index.load(bundles) for bundles in self._store.rows(number).scan_ads()]
        index.settle()
        removed = np.concatenate([np.zeros(0, dtype=np.int64), *surplus])
        self._store.writer(number).write_bundles(BundleWrite(removed=removed))
        self._index = (number, index)
        return index


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

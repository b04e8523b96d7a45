"""A small model that a test publishes by hand: it decides what stands in the log and what in the store, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from serving.scorer.updates import UPDATES
from streams.contract.bundles import bundle_keys, bundle_layout, encode_bundles
from streams.contract.columns import Array
from streams.contract.features import FeatureBatch, FeatureTransform
from streams.contract.manifest import Generation, Manifest, ModelUpdate, Rows, encode_update
from streams.contract.rows import encode_rows
from streams.contract.schema import Schema, schema_to_json
from streams.log.event_log import MODEL_UPDATES, Append, EventLog
from streams.store.row_store import RowStore
from streams.store.row_writer import BundleWrite
from tests.support.small_model import shared_schema
from trainer.model.dense import DenseNetwork
from trainer.model.dlrm import DlrmConfig
from trainer.model.export import export_programs
from trainer.model.network import build_network, network_state

MODEL = "ads"
CONFIG = DlrmConfig(bottom=(8,), top=(8, 6))


@dataclass
class PublishedModel:
    """One generation. `rows` is what a reference score uses: table -> id -> row."""

    log: EventLog
    store: RowStore
    generation: int = 1
    first_version: int = 1
    schema: Schema = field(default_factory=shared_schema)
    encoding: str = "fp32"
    network: DenseNetwork = field(default_factory=lambda: build_network(shared_schema(), CONFIG))

    def __post_init__(self) -> None:
        self.dim = next(iter(self.schema.tables.values()))
        self.version = self.first_version - 1
        self.rows: dict[str, dict[int, Array]] = {table: {} for table in self.schema.tables}
        self.defaults = np.zeros((len(self.schema.tables), self.dim), dtype=np.float32)
        self.transform = FeatureTransform(self.schema)
        self.log.create_topic(MODEL_UPDATES, 1)
        self.described = Generation(
            model=MODEL, generation=self.generation, first_version=self.first_version, feature_hash=self.schema.hash,
            schema=schema_to_json(self.schema), tables=self.schema.tables, network={}, row_encoding=self.encoding,
            updates_offset=self.log.end_offsets([UPDATES])[UPDATES],
        )  # fmt: skip

    def begin(self, *, live: bool = True) -> None:
        """Writes the generation and its first version, and makes it live."""
        self.write_generation()
        self.publish()
        if live:
            self.store.set_live(self.generation)

    def write_generation(self) -> None:
        """Writes the generation without a version."""
        self.store.write_generation(self.described, export_programs(self.network))

    def publish(
        self,
        rows: Mapping[str, Mapping[int, Array]] | None = None,
        tombstones: Mapping[str, Sequence[int]] | None = None,
        *,
        to_store: bool = True,
        ads: Array | None = None,
    ) -> ModelUpdate:
        """The next version: to the log, then (unless told otherwise) to the store."""
        update = self.next_version(rows or {}, tombstones or {})
        self.append(update)
        if to_store:
            self.write(update, ads)
        return update

    def append(self, update: ModelUpdate) -> None:
        """Writes a version to the log."""
        self.log.append([Append(UPDATES, record) for record in encode_update(update)])

    def next_version(
        self, rows: Mapping[str, Mapping[int, Array]], tombstones: Mapping[str, Sequence[int]]
    ) -> ModelUpdate:
        """Changes what a reference score uses, and returns the change."""
        self.version += 1
        for table, ids in tombstones.items():
            for one in ids:
                self.rows[table].pop(one, None)
        for table, changed in rows.items():
            self.rows[table].update({key: np.asarray(row, dtype=np.float32) for key, row in changed.items()})
        manifest = Manifest(
            model=MODEL, version=self.version, parent=self.version - 1, generation=self.generation,
            feature_hash=self.schema.hash, newest_ingest_ms=1000 + self.version, newest_event_time_ms=self.version,
        )  # fmt: skip
        dense = {name: np.array(tensor) for name, tensor in network_state(self.network).items()}
        return ModelUpdate(
            manifest,
            {**dense, "default_rows": self.defaults.copy()},
            {table: _rows(changed, self.dim) for table, changed in rows.items()},
            {table: np.array(ids, dtype=np.int64) for table, ids in tombstones.items()},
        )

    def write(self, update: ModelUpdate, ads: Array | None = None) -> None:
        """Writes a version to the store, with bundles of `ads` (A, F)."""
        bundles = BundleWrite() if ads is None else self._bundles(update.manifest.version, ads)
        self.store.write_version(update.manifest, update.dense, update.rows, update.tombstones, bundles)

    def change_dense(self, seed: int) -> None:
        """Other weights and default rows for the next version."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.network.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
        self.defaults = np.random.default_rng(seed).normal(size=self.defaults.shape).astype(np.float32)

    def random_rows(self, ids: Sequence[int], seed: int = 0) -> dict[str, dict[int, Array]]:
        """Random rows of those ids in every table."""
        rng = np.random.default_rng(seed)
        return {t: {one: rng.normal(size=self.dim).astype(np.float32) for one in ids} for t in self.rows}

    def expected(self, batch: FeatureBatch) -> Array:
        """The probabilities (E,) by the plain network on rows looked up one by one."""
        request = self._embeddings(batch.request.ids, batch.request.lengths, of_request=True)
        candidate = self._embeddings(batch.candidate.ids, batch.candidate.lengths, of_request=False)
        with torch.no_grad():
            logits = self.network(
                torch.from_numpy(batch.request.dense), request, torch.from_numpy(batch.candidate.dense), candidate,
                torch.from_numpy(batch.request_index.astype(np.int64)),
            )  # fmt: skip
        probabilities: Array = torch.sigmoid(logits).numpy()
        return probabilities

    def _embeddings(self, ids: Array, lengths: Array, *, of_request: bool) -> torch.Tensor:
        """Means over bags (N, F, D), one bag after the other."""
        numbers = list(self.schema.tables)
        pooled = np.zeros((lengths.shape[1], lengths.shape[0], self.dim), dtype=np.float32)
        at = 0
        for key_number, key in enumerate(self.schema.sparse(of_request=of_request)):
            default = self.defaults[numbers.index(key.table)]
            for row in range(lengths.shape[1]):
                bag = ids[at : at + lengths[key_number, row]].tolist()
                at += len(bag)
                if bag:
                    pooled[row, key_number] = np.mean([self.rows[key.table].get(one, default) for one in bag], axis=0)
        return torch.from_numpy(pooled)

    def _bundles(self, version: int, ads: Array) -> BundleWrite:
        layout = bundle_layout(self.described)
        names = list(self.schema.tables)
        known = [[self.rows[names[t]].get(int(one)) for t, one in zip(layout.tables, ad, strict=True)] for ad in ads]
        included = np.array([[row is not None for row in of_ad] for of_ad in known])
        rows = np.array([[np.zeros(self.dim) if row is None else row for row in of_ad] for of_ad in known])
        flat = encode_rows(rows.reshape(-1, self.dim).astype(np.float32), self.encoding)
        values = encode_bundles(layout, version, ads, included, ~included, flat.reshape(*ads.shape, -1))
        return BundleWrite(bundle_keys(ads), values)


def _rows(rows: Mapping[int, Array], dim: int) -> Rows:
    values = np.stack([np.asarray(row, dtype=np.float32) for row in rows.values()]) if rows else np.zeros((0, dim))
    return Rows(np.array(list(rows), dtype=np.int64), values.astype(np.float32))

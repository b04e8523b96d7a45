"""One generation in memory: programs, hot rows, and the version they are at.

`follow` (any one thread) brings versions; `apply_waiting` puts them in, all or nothing, under the
scorer's lock. Between the two a version waits in `_waiting`, so a batch that meets a newer row in
the store can apply what has come without leaving the lock.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from serving.scorer.config import ScorerConfig
from serving.scorer.counting import ServedCounters
from serving.scorer.hot_rows import HotRows
from serving.scorer.pooling import pool
from serving.scorer.programs import DEFAULT_ROWS, Programs
from serving.scorer.version import PreparedVersion, prepare
from streams.contract.bundles import bundle_layout
from streams.contract.calibration import CalibrationMap, calibration_from
from streams.contract.columns import Array
from streams.contract.errors import ConflictError, FormatError
from streams.contract.features import FeatureBatch
from streams.contract.manifest import Generation, Manifest, ModelUpdate, UpdateAssembler, decode_part
from streams.contract.schema import schema_from_json
from streams.contract.wire import Widths, hash_number, widths_of
from streams.log.event_log import Record

_LOG = logging.getLogger(__name__)


class ServedGeneration:
    """Everything one generation needs to score."""

    def __init__(self, generation: Generation, head: Manifest, programs: Programs, config: ScorerConfig) -> None:
        schema = schema_from_json(generation.schema)
        numbers = {table: number for number, table in enumerate(generation.tables)}
        self.generation = generation
        self.widths: Widths = widths_of(schema)
        self.feature_hash = hash_number(generation.feature_hash)
        self.request_tables = _numbers(numbers, [key.table for key in schema.sparse(of_request=True)])
        self.candidate_tables = _numbers(numbers, [key.table for key in schema.sparse(of_request=False)])
        names = [key.name for key in schema.sparse(of_request=False)]
        self.counters = ServedCounters(schema, numbers) if schema.counters else None
        self.bundled_columns = np.array([names.index(name) for name in bundle_layout(generation).names], dtype=np.int64)
        self.rows = HotRows(
            len(generation.tables), next(iter(generation.tables.values())),
            capacity=config.max_hot_rows, max_unknown_ids=config.max_unknown_ids,
        )  # fmt: skip

        # the version applied, and those that wait
        self.manifest = head
        self.applied_ms: dict[int, int] = {}
        self.broken = False
        self._programs = programs
        self._schema = schema
        self._calibration: CalibrationMap | None = None
        self._waiting: deque[PreparedVersion] = deque()
        self._arrived = threading.Condition()

        # where `model-updates` goes on
        self.next_offset = generation.updates_offset
        self._assembler = UpdateAssembler()
        self._newest_followed = head.version

    @property
    def version(self) -> int:
        """The version applied."""
        return self.manifest.version

    @property
    def num_waiting(self) -> int:
        """Versions that have come and are not applied."""
        return len(self._waiting)

    def follow(self, records: Iterable[Record]) -> None:
        """Takes the next records of `model-updates`; versions of this generation that are new wait to be applied.

        A damaged record is passed over. Raises ConflictError where a version before another one is
        missing: the generation must then be loaded again.
        """
        for record in records:
            self.next_offset = record.offset + 1
            try:
                update = self._assemble(record.value)
                version = None if update is None else prepare(update, self.generation, self._programs)
            except FormatError as error:
                _LOG.warning("passing over %s, offset %d: %s", record.partition, record.offset, error)
                continue
            if version is not None:
                self._check_parent(version.manifest)
                self._newest_followed = version.manifest.version
                self._add(version)

    def apply_waiting(self) -> None:
        """Applies all versions that wait. The caller holds the scorer's lock."""
        while True:
            with self._arrived:
                if not self._waiting:
                    return
                version = self._waiting.popleft()
            self._apply(version)

    def catch_up(self, version: int, timeout_seconds: float) -> bool:
        """Applies versions until at least `version`; False where it does not come in time. Under the lock."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            self.apply_waiting()
            if self.version >= version:
                return True
            with self._arrived:
                if not self._arrived.wait_for(lambda: bool(self._waiting), deadline - time.monotonic()):
                    return False

    def set_dense(self, dense: dict[str, Array]) -> None:
        """Sets parameters, default rows and the calibration, checked before."""
        self._programs.set_parameters(dense)
        self.rows.set_defaults(dense[DEFAULT_ROWS])
        self._calibration = calibration_from(dense, self._schema)

    def forward(self, batch: FeatureBatch, request_slots: Array, candidate_slots: Array) -> Array:
        """Probabilities (E,) float32 from the slots of the batch's ids. E is 1 or more."""
        values = self.rows.values
        logits = self._programs(
            (_tensor(batch.request.dense), pool(values, request_slots, batch.request.lengths)),
            (_tensor(batch.candidate.dense), pool(values, candidate_slots, batch.candidate.lengths)),
            batch.request_index,
        )
        if self._calibration is not None:
            logits = torch.from_numpy(self._calibration.of_batch(batch, logits.numpy()))
        scores: Array = torch.sigmoid(logits).numpy()
        return scores

    def _assemble(self, record: bytes) -> ModelUpdate | None:
        """The version that the record completes, if it is a new one of this generation."""
        part = decode_part(record)
        if part.generation != self.generation.generation or part.version <= self._newest_followed:
            return None
        return self._assembler.add(record)

    def _add(self, version: PreparedVersion) -> None:
        with self._arrived:
            self._waiting.append(version)
            self._arrived.notify_all()

    def _check_parent(self, manifest: Manifest) -> None:
        missed = manifest.parent > self._newest_followed and manifest.parent >= self.generation.first_version
        if missed:
            raise ConflictError(f"version {manifest.version} builds on {manifest.parent}, which never came",
                                field="model-updates", value=self._newest_followed,
                                remedy="the generation is loaded again from the store")  # fmt: skip

    def _apply(self, version: PreparedVersion) -> None:
        self.set_dense(version.dense)
        self.rows.forget(version.dead_tables, version.dead_ids, version.manifest.version)
        self.rows.put(version.tables, version.ids, version.rows, version.manifest.version)
        self.manifest = version.manifest
        self.applied_ms[version.manifest.version] = time.time_ns() // 1_000_000


def _numbers(numbers: dict[str, int], tables: list[str]) -> Array:
    return np.array([numbers[table] for table in tables], dtype=np.int16)


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(array if array.flags.writeable else array.copy())

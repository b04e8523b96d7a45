"""One generation in memory: programs, hot rows, and the version they are at."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from serving.scorer.config import ScorerConfig
from serving.scorer.counting import ServedCounters
from serving.scorer.followed_generation import FollowedGeneration
from serving.scorer.hot_rows import HotRows
from serving.scorer.pooling import pool
from serving.scorer.programs import DEFAULT_ROWS, Programs
from serving.scorer.version import PreparedVersion, check_dense, merged
from streams.contract.bundles import bundle_layout
from streams.contract.calibration import CalibrationMap, calibration_from
from streams.contract.columns import Array
from streams.contract.features import FeatureBatch
from streams.contract.manifest import Generation, Manifest, ModelUpdate
from streams.contract.schema import schema_from_json
from streams.contract.wire import Widths, hash_number, widths_of


class ServedGeneration(FollowedGeneration[PreparedVersion]):
    """Everything one generation needs to score."""

    def __init__(self, generation: Generation, head: Manifest, programs: Programs, config: ScorerConfig) -> None:
        super().__init__(generation, head)
        schema = schema_from_json(generation.schema)
        numbers = {table: number for number, table in enumerate(generation.tables)}
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
        self._programs = programs
        self._schema = schema
        self._calibration: CalibrationMap | None = None

    def prepare(self, update: ModelUpdate) -> PreparedVersion:
        self.check_dense(update.dense)
        return merged(update, self.generation)

    def put_in(self, version: PreparedVersion) -> None:
        self.set_dense(version.dense)
        self.rows.forget(version.dead_tables, version.dead_ids, version.manifest.version)
        self.rows.put(version.tables, version.ids, version.rows, version.manifest.version)

    def release(self, stored_version: int) -> None:
        self.rows.release(stored_version)

    def check_dense(self, dense: dict[str, Array]) -> None:
        """Raises FormatError where parameters, default rows or calibration do not fit the generation."""
        check_dense(dense, self.generation, self._schema, self._programs)

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


def _numbers(numbers: dict[str, int], tables: list[str]) -> Array:
    return np.array([numbers[table] for table in tables], dtype=np.int16)


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(array if array.flags.writeable else array.copy())

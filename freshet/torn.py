"""Whether a served score is the one that exactly its version gives.

Every version is put together again from `model-updates` alone: dense parameters and rows as they
stood at that version. A logged probability that differs from it by more than float rounding mixed
two versions, or was never that version's.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from freshet.audit import record_values
from streams.contract.calibration import calibration_from
from streams.contract.columns import Array, column_from_values
from streams.contract.encoding import decode_event
from streams.contract.events import Impression
from streams.contract.features import FeatureBatch, FeatureTransform, Side
from streams.contract.manifest import Generation, ModelUpdate
from streams.contract.schema import Schema, Sparse, schema_from_json
from streams.counters.rows import RowCounters
from streams.log.event_log import EVENTS, EventLog
from streams.store.row_store import RowStore

TOLERANCE = 2e-6


@dataclass
class _State:
    """One generation at one version."""

    generation: Generation
    programs: dict[str, Any]
    dense: dict[str, Array] = field(default_factory=dict)
    rows: dict[str, dict[int, Array]] = field(default_factory=lambda: defaultdict(dict))

    def apply(self, update: ModelUpdate) -> None:
        self.dense = update.dense
        for table, rows in update.rows.items():
            self.rows[table].update(zip(rows.ids.tolist(), rows.values, strict=True))
        for table, ids in update.tombstones.items():
            for id_ in ids.tolist():
                self.rows[table].pop(id_, None)


@dataclass(frozen=True, slots=True)
class TornAccount:
    """How many scored impressions were looked at, and how many are not what their version gives."""

    audited: int
    torn: int


def count_torn(log: EventLog, store: RowStore, updates: list[ModelUpdate], num_audited: int) -> TornAccount:
    """Looks at `num_audited` scored impressions, spread over all versions. One of a version never published is torn."""
    wanted = _sample(_scored(log), num_audited)
    audited = sum(map(len, wanted.values()))
    torn = 0
    states: dict[int, _State] = {}
    for update in updates:
        manifest = update.manifest
        if manifest.generation not in states:
            states[manifest.generation] = _load(store, manifest.generation)
        state = states[manifest.generation]
        state.apply(update)
        for impression in wanted.pop((manifest.generation, manifest.version), []):
            expected = _probabilities(state, impression)
            torn += int(not np.abs(expected - np.array(impression.probabilities)).max() <= TOLERANCE)
    return TornAccount(audited, torn + sum(map(len, wanted.values())))


def _scored(log: EventLog) -> Iterator[Impression]:
    for event in map(decode_event, record_values(log, EVENTS)):
        if isinstance(event, Impression) and event.version and event.probabilities:
            yield event


def _sample(impressions: Iterator[Impression], size: int) -> dict[tuple[int, int], list[Impression]]:
    """A uniform sample (seeded reservoir) by (generation, version)."""
    rng = np.random.default_rng(0)
    kept: list[Impression] = []
    for seen, impression in enumerate(impressions):
        if seen < size:
            kept.append(impression)
        elif (place := int(rng.integers(0, seen + 1))) < size:
            kept[place] = impression
    by_version: dict[tuple[int, int], list[Impression]] = defaultdict(list)
    for impression in kept:
        by_version[impression.generation, impression.version].append(impression)
    return by_version


def _load(store: RowStore, generation: int) -> _State:
    programs = {name: torch.export.load(io.BytesIO(code)).module() for name, code in store.programs(generation).items()}
    return _State(store.generation(generation), programs)


def _probabilities(state: _State, impression: Impression) -> Array:
    schema = schema_from_json(state.generation.schema)
    count = len(impression.ad_ids)
    batch = FeatureTransform(schema)(
        {name: column_from_values([value]) for name, value in {**impression.user, **impression.context}.items()},
        {"ad_id": list(impression.ad_ids),
         **{name: column_from_values(values) for name, values in impression.candidates.items()}},
        np.zeros(count, dtype=np.int32),
        num_requests=1,
    )  # fmt: skip
    if schema.counters:
        batch = _counted(state, schema, batch, impression.event_time_ms)
    request = _pooled(state, batch.request, schema.sparse(of_request=True), 1)
    candidate = _pooled(state, batch.candidate, schema.sparse(of_request=False), count)
    for program in state.programs.values():
        own = program.state_dict()
        program.load_state_dict({name: torch.from_numpy(state.dense[name].copy()) for name in own})
    with torch.no_grad():
        context = state.programs["request"](torch.from_numpy(batch.request.dense), request)
        index = torch.zeros(count, dtype=torch.int64)
        logits = state.programs["candidate"](torch.from_numpy(batch.candidate.dense), candidate, index, *context)
    calibration = calibration_from(state.dense, schema)
    if calibration is not None:
        logits = torch.from_numpy(calibration.of_batch(batch, logits.numpy()))
    probabilities: Array = torch.sigmoid(logits).numpy()
    return probabilities


def _counted(state: _State, schema: Schema, batch: FeatureBatch, event_time_ms: int) -> FeatureBatch:
    """The batch with its counters as they stood at that version, decayed to the impression's time."""
    counters, dim = RowCounters(schema), next(iter(state.generation.tables.values()))
    keys, nothing = counters.keys_of(batch), np.zeros(dim, dtype=np.float32)
    names = [counters.tables[number] for number in keys.numbers.tolist()]
    rows = [state.rows[name].get(one, nothing) for name, one in zip(names, keys.ids.tolist(), strict=True)]
    return counters.fill(batch, np.stack(rows), np.array([event_time_ms], dtype=np.int64))


def _pooled(state: _State, side: Side, keys: list[Sparse], num_rows: int) -> torch.Tensor:
    """Mean-pooled embeddings (rows, F, D), computed the plain way."""
    dim = next(iter(state.generation.tables.values()))
    pooled = np.zeros((num_rows, len(keys), dim), dtype=np.float32)
    tables = list(state.generation.tables)
    at = 0
    for number, key in enumerate(keys):
        default = state.dense["default_rows"][tables.index(key.table)]
        held = state.rows[key.table]
        for row, length in enumerate(side.lengths[number].tolist()):
            if length:
                bag = [held.get(id_, default) for id_ in side.ids[at : at + length].tolist()]
                pooled[row, number] = np.mean(bag, axis=0)
            at += length
    return torch.from_numpy(pooled)

"""A delta that passed the gate, as a version: rows quantised once, so that log and Redis hold the same numbers."""

from __future__ import annotations

import math
import time

import numpy as np

from streams.contract.columns import Array
from streams.contract.manifest import Generation, Manifest, ModelUpdate, Rows
from streams.contract.rows import decode_rows, encode_rows
from streams.versions.delta import Delta
from streams.versions.verdict import GateResult, Norms


def version_of(
    delta: Delta, result: GateResult, generation: Generation, version: int, parent: Manifest | None, recipe: str
) -> ModelUpdate:
    """Version `version` of `generation`, built on `parent` (None: its first)."""
    rows = {table: _as_served(changed, generation.row_encoding) for table, changed in delta.rows.items()}
    tombstones = {table: _gone(ids, rows.get(table)) for table, ids in delta.tombstones.items()}
    progress = delta.progress
    manifest = Manifest(
        model=generation.model, version=version, parent=0 if parent is None else parent.version,
        generation=generation.generation, feature_hash=generation.feature_hash,
        step=progress.step, examples=progress.examples, offsets=progress.offsets,
        newest_event_time_ms=progress.newest_event_time_ms, newest_ingest_ms=progress.newest_ingest_ms,
        ingest_quantiles_ms=progress.ingest_quantiles_ms, created_ms=time.time_ns() // 1_000_000, recipe=recipe,
        num_rows=sum(len(changed.ids) for changed in rows.values()),
        num_tombstones=sum(map(len, tombstones.values())),
        gate={**result.as_dict(), **_scales(result, parent)},
        metrics={name: float(value) for name, value in delta.metrics.items() if math.isfinite(value)},
    )  # fmt: skip
    return ModelUpdate(manifest, delta.dense, rows, tombstones)


def norms_of(manifest: Manifest) -> Norms:
    """The running scale of norms up to and with that version."""
    return Norms(manifest.gate.get("row_norm_scale", 0.0), manifest.gate.get("dense_norm_scale", 0.0))


def _scales(result: GateResult, parent: Manifest | None) -> dict[str, float]:
    scale = (Norms() if parent is None else norms_of(parent)).after(result.norms)
    return {"row_norm_scale": scale.row, "dense_norm_scale": scale.dense}


def _as_served(rows: Rows, encoding: str) -> Rows:
    if encoding == "fp32":
        return rows
    return Rows(rows.ids, decode_rows(encode_rows(rows.values, encoding), rows.values.shape[1], encoding))


def _gone(ids: Array, rows: Rows | None) -> Array:
    """The evicted ids that have not come back in the same version."""
    return ids if rows is None else np.setdiff1d(ids, rows.ids)

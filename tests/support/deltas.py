"""Deltas for the small schema of tests.support.generations, good ones unless told otherwise."""

from __future__ import annotations

import numpy as np

from streams.contract.columns import Array
from streams.contract.manifest import Rows
from streams.versions.delta import Delta, Progress, WindowScores
from tests.support.generations import AD_KEYS, SCHEMA


def window(num: int = 2000, *, seed: int = 0, noise: float = 0.1, served_noise: float | None = None) -> WindowScores:
    """Labels drawn from a known probability; predictions off by `noise` in the logit, served ones by `served_noise`."""
    random = np.random.default_rng(seed)
    logit = random.normal(-1.0, 1.0, num)
    label = (random.random(num) < _sigmoid(logit)).astype(np.float32)
    served = np.full(num, np.nan)
    if served_noise is not None:
        served = _sigmoid(logit + random.normal(0.0, served_noise, num))
    return WindowScores(
        label=label,
        probability=_sigmoid(logit + random.normal(0.0, noise, num)).astype(np.float32),
        served_probability=served.astype(np.float32),
        served_version=np.full(num, 3 if served_noise is not None else 0, dtype=np.int64),
    )


def delta(
    step: int,
    *,
    rows: dict[str, Rows] | None = None,
    tombstones: dict[str, Array] | None = None,
    ads: list[tuple[int, int, int]] | None = None,
    scores: WindowScores | None = None,
    dense: dict[str, Array] | None = None,
    full: bool = False,
) -> Delta:
    """A delta at `step`, whose dense parameters say so."""
    return Delta(
        dense=dense or {"weight": np.full(3, step / 1000, np.float32), "default_rows": np.zeros((5, 4), np.float32)},
        rows=rows or {},
        tombstones=tombstones or {},
        ads=np.array(ads or [], dtype=np.int64).reshape(-1, 3),
        ad_keys=AD_KEYS,
        progress=Progress(
            step=step,
            examples=100 * step,
            offsets={"examples[0]": [step, 0]},
            newest_event_time_ms=step,
            newest_ingest_ms=step,
            ingest_quantiles_ms=[],
        ),
        metrics={"auc": 0.7, "calibration": float("nan")},
        window=scores or window(),
        full=full,
        tables=SCHEMA.tables,
    )


def _sigmoid(logit: Array) -> Array:
    probability: Array = 1 / (1 + np.exp(-logit))
    return probability

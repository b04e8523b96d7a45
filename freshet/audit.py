"""What a run promised, checked against what lies in the log and the store.

lost and duplicate   every candidate shown must be in `examples` exactly once, and be learnt once
torn                 a served probability must be the one that exactly its version gives
freshness            from the event that settled a label to the first moment a version that learnt it served
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from streams.contract.columns import Array
from streams.contract.examples import ExampleBatch, decode_examples
from streams.contract.manifest import ModelUpdate, UpdateAssembler
from streams.log.event_log import EXAMPLES, MODEL_UPDATES, EventLog


@dataclass(frozen=True, slots=True)
class ExampleAccount:
    """Distinct candidates emitted, how many stand there more than once, and corrections beside."""

    distinct: int
    duplicates: int
    corrections: int


def example_batches(log: EventLog) -> Iterator[ExampleBatch]:
    """Every batch in the `examples` topic, partition by partition."""
    for value in record_values(log, EXAMPLES):
        decoded = decode_examples(value)
        if isinstance(decoded, ExampleBatch):
            yield decoded


def model_updates(log: EventLog) -> Iterator[ModelUpdate]:
    """Every version in `model-updates`, in order."""
    assembler = UpdateAssembler()
    for value in record_values(log, MODEL_UPDATES):
        update = assembler.add(value)
        if update is not None:
            yield update


def count_examples(log: EventLog) -> ExampleAccount:
    """Counts the examples by (impression, ad, position, kind).

    One impression may show an ad in two positions, which are two examples; only where positions are
    unknown (-1) would they count as one and its duplicate.
    """
    seen: Counter[tuple[str, str, int, str]] = Counter()
    corrections = 0
    for batch in example_batches(log):
        positions = batch.position.tolist()
        for row, request in enumerate(batch.request_index.tolist()):
            if batch.correction[row]:
                corrections += 1
            else:
                seen[batch.impression_id[request], batch.ad_id[row], positions[row], batch.kind] += 1
    return ExampleAccount(len(seen), sum(seen.values()) - len(seen), corrections)


def freshness_seconds(updates: list[ModelUpdate], applied_ms: dict[int, int]) -> dict[str, float]:
    """p50 and p99 over examples of: served (in any version that holds them) - label settled.

    Labels that settled before any version served measure the start, not freshness: they are left
    out, and `start` is how long the first of them waited.
    """
    began_ms = min(applied_ms.values(), default=0)
    first_ms = min((min(u.manifest.ingest_quantiles_ms) for u in updates if u.manifest.ingest_quantiles_ms), default=0)
    ages, weights, learnt_before = [np.zeros(0)], [np.zeros(0)], 0
    for update in updates:
        manifest = update.manifest
        served = [at for version, at in applied_ms.items() if version >= manifest.version]
        if manifest.ingest_quantiles_ms and served:
            points = np.array(manifest.ingest_quantiles_ms, dtype=np.float64)
            since = points >= began_ms
            ages.append((min(served) - points[since]) / 1000)
            weights.append(np.full(int(since.sum()), (manifest.examples - learnt_before) / len(points)))
        learnt_before = manifest.examples
    start = max(0.0, (began_ms - first_ms) / 1000)
    return {"p50": _quantile(ages, weights, 0.5), "p99": _quantile(ages, weights, 0.99), "start": start}


def _quantile(values: list[Array], weights: list[Array], q: float) -> float:
    """The weighted q-quantile; nan of nothing."""
    value, weight = np.concatenate(values), np.concatenate(weights)
    if not len(value):
        return float("nan")
    order = np.argsort(value)
    below = np.cumsum(weight[order])
    return float(value[order][min(len(value) - 1, int(np.searchsorted(below, q * below[-1])))])


def record_values(log: EventLog, topic: str) -> Iterator[bytes]:
    """Every record of a topic from the oldest kept to the present end, partition by partition."""
    for partition in log.partitions(topic):
        position = log.begin_offsets([partition])[partition]
        while records := log.read({partition: position}, max_records=500):
            yield from (record.value for record in records)
            position = records[-1].offset + 1

"""What a turn's examples say was liked: label 1, whether at once or by a correction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streams.contract.columns import Array
from streams.contract.examples import ExampleBatch


@dataclass(frozen=True, slots=True)
class Like:
    """One like: names of both, and when it was settled, in wall-clock milliseconds."""

    user: str
    item: str
    ingest_ms: int


def likes_in(batch: ExampleBatch) -> list[Like]:
    """The likes in the order of the examples. A correction that takes a like back is none."""
    rows: Array = np.flatnonzero(batch.label >= 0.5)
    return [
        Like(batch.unit_id[batch.request_index[row]], batch.ad_id[row], int(batch.decided_ingest_ms[row]))
        for row in rows
    ]

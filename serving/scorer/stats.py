"""What a scorer counts, under the metric names of streams/contract/telemetry.py."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(kw_only=True, slots=True)
class ScorerStats:
    """Totals since the start, and present sizes."""

    version: int = 0
    generation: int = 0
    num_hot_rows: int = 0
    num_hot_bytes: int = 0
    num_unknown_ids: int = 0
    num_requests: int = 0
    num_candidates: int = 0
    num_batches: int = 0
    num_misses: int = 0
    num_defaults: int = 0

    def metrics(self) -> dict[str, float]:
        """Metric name -> value."""
        return {
            "freshet_scorer_version": self.version,
            "freshet_scorer_hot_rows": self.num_hot_rows,
            "freshet_scorer_misses_total": self.num_misses,
            "freshet_scorer_defaults_total": self.num_defaults,
        }

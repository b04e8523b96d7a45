"""What a recommender counts, under the metric names of streams/contract/telemetry.py."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(kw_only=True, slots=True)
class RecommenderStats:
    """Totals since the start, and present sizes."""

    version: int = 0
    generation: int = 0
    num_items: int = 0
    num_hot_rows: int = 0
    num_requests: int = 0
    num_passes: int = 0
    num_misses: int = 0
    num_cached: int = 0
    num_unknown_users: int = 0
    num_late: int = 0

    def metrics(self) -> dict[str, float]:
        """Metric name -> value."""
        return {
            "freshet_recommender_version": self.version,
            "freshet_recommender_items": self.num_items,
            "freshet_recommender_hot_rows": self.num_hot_rows,
            "freshet_recommender_requests_total": self.num_requests,
            "freshet_recommender_passes_total": self.num_passes,
            "freshet_recommender_misses_total": self.num_misses,
            "freshet_recommender_cached_states_total": self.num_cached,
            "freshet_recommender_unknown_users_total": self.num_unknown_users,
            "freshet_recommender_late_total": self.num_late,
        }

"""Settings of what is served that a busy machine keeps within: what is answered is tested, not how soon."""

from __future__ import annotations

from typing import Any

PATIENT: dict[str, Any] = {"store_timeout_seconds": 30.0, "stale_after_seconds": 300.0}
"""Of a ScorerConfig or RecommenderConfig: neither a slow store nor a slow log is taken for one that is away."""

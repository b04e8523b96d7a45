"""Counters of the join, for its caller, its log line and the metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class JoinStats:
    """What went through one partition, or through several added up; `held` and below are of this moment."""

    impressions: int = 0
    feedback: int = 0
    ticks: int = 0
    examples: Counter[str] = field(default_factory=Counter)
    positives: int = 0
    corrections: int = 0
    duplicates: int = 0
    repeated: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)

    # gauges
    held: int = 0
    open_windows: int = 0
    behind: int = 0
    """Events in the log that were not taken yet, when that was last asked."""
    watermark_ms: int | None = None

    def add(self, other: JoinStats) -> None:
        """Adds the counters of `other`; gauges stay."""
        for name in ("impressions", "feedback", "ticks", "positives", "corrections", "duplicates", "repeated"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.examples.update(other.examples)
        self.dead_letters.update(other.dead_letters)

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values; `watermark_ms` is on the data's clock."""
        return {
            "impressions": self.impressions,
            "feedback": self.feedback,
            "ticks": self.ticks,
            "examples": dict(self.examples),
            "positives": self.positives,
            "corrections": self.corrections,
            "duplicates": self.duplicates,
            "repeated": self.repeated,
            "dead_letters": dict(self.dead_letters),
            "held": self.held,
            "open_windows": self.open_windows,
            "behind": self.behind,
            "watermark_ms": self.watermark_ms,
        }


def total_stats(parts: list[JoinStats]) -> JoinStats:
    """The partitions' stats as one: counters and gauges added, the watermark of the slowest partition."""
    total = JoinStats()
    for part in parts:
        total.add(part)
        total.held += part.held
        total.open_windows += part.open_windows
        total.behind += part.behind
    watermarks = [part.watermark_ms for part in parts if part.watermark_ms is not None]
    total.watermark_ms = min(watermarks, default=None)
    return total

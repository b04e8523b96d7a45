"""Counters added up."""

from __future__ import annotations

from collections import Counter

from streams.join.stats import JoinStats, total_stats


def test_total_adds_counters_and_gauges_and_takes_the_slowest_watermark() -> None:
    one = JoinStats(impressions=1, examples=Counter(click=2), dead_letters=Counter(x=1), held=3, watermark_ms=9)
    two = JoinStats(impressions=4, examples=Counter(click=1, view=1), open_windows=5, behind=2, watermark_ms=7)
    total = total_stats([one, two, JoinStats()])
    assert total.as_dict() == {
        "impressions": 5, "feedback": 0, "ticks": 0, "examples": {"click": 3, "view": 1}, "positives": 0,
        "corrections": 0, "duplicates": 0, "repeated": 0, "dead_letters": {"x": 1}, "held": 3, "open_windows": 5,
        "behind": 2, "watermark_ms": 7,
    }  # fmt: skip
    assert one.examples == Counter(click=2)

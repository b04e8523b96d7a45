"""The join's figures under the metric names of streams/contract/telemetry.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from streams.contract.telemetry import Sample
from streams.join.stats import JoinStats, total_stats


def join_samples(partitions: Mapping[int, JoinStats]) -> Iterator[Sample]:
    """Counters since the joiner's start, over its partitions together; lag and watermark of each."""
    total = total_stats(list(partitions.values()))
    for kind, count in (("impression", total.impressions), ("feedback", total.feedback), ("tick", total.ticks)):
        yield Sample("freshet_join_events_total", count, (kind,))
    for kind, count in total.examples.items():
        yield Sample("freshet_join_examples_total", count, (kind,))
    for reason, count in total.dead_letters.items():
        yield Sample("freshet_dead_letters_total", count, (reason,))
    yield Sample("freshet_join_corrections_total", total.corrections)
    yield Sample("freshet_join_duplicates_total", total.duplicates)
    yield Sample("freshet_join_repeated_total", total.repeated)
    yield Sample("freshet_join_waiting_impressions", total.open_windows)
    yield Sample("freshet_join_held_feedback", total.held)
    for partition, stats in partitions.items():
        yield Sample("freshet_join_lag_events", stats.behind, (str(partition),))
        if stats.watermark_ms is not None:
            yield Sample("freshet_join_watermark_seconds", stats.watermark_ms / 1000, (str(partition),))

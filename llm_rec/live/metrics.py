"""The learner's figures under the metric names of streams/contract/telemetry.py.

The learning thread leaves its progress here about once a second; the metrics page reads the newest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

from llm_rec.live.loop import LearnProgress
from llm_rec.live.progressive import FIGURES
from streams.contract.telemetry import Sample
from streams.versions.publish import PublishStatus

_PREFIX = "freshet_recommender_learn"


class LearnMetrics:
    """What is known of a learner. One thread calls `took`, any other `samples` and `degraded`."""

    def __init__(self, publish_status: Callable[[], PublishStatus] | None = None) -> None:
        """`publish_status` must be safe to call from any thread; None: nothing is published."""
        self._publish_status = publish_status
        self._progress: LearnProgress | None = None

    def took(self, progress: LearnProgress) -> None:
        """Keeps the newest progress."""
        self._progress = progress

    def samples(self) -> Iterator[Sample]:
        """The metrics that are defined now: figures come with the first likes, the version with the first one."""
        if self._progress is not None:
            yield from _learning_samples(self._progress)
        if self._publish_status is not None:
            yield from _publish_samples(self._publish_status())

    def degraded(self) -> list[str]:
        """What publishing waits for."""
        error = self._publish_status().error if self._publish_status is not None else ""
        return [f"publishing: {error}"] if error else []


def _learning_samples(progress: LearnProgress) -> Iterator[Sample]:
    yield Sample(f"{_PREFIX}_examples_total", progress.examples)
    yield Sample(f"{_PREFIX}_likes_total", progress.likes)
    yield Sample(f"{_PREFIX}_users", progress.users)
    yield Sample(f"{_PREFIX}_items", progress.items)
    yield Sample(f"{_PREFIX}_checkpoint_seconds", progress.checkpoint_seconds)
    if progress.newest_ingest_ms:
        yield Sample(f"{_PREFIX}_learnt_age_seconds", time.time() - progress.newest_ingest_ms / 1000)
    for name in FIGURES:
        if not math.isnan(progress.window[name]):
            yield Sample(f"{_PREFIX}_{name}", progress.window[name])


def _publish_samples(status: PublishStatus) -> Iterator[Sample]:
    yield Sample(f"{_PREFIX}_versions_published_total", status.num_published)
    yield Sample(f"{_PREFIX}_publish_failures_total", status.num_failures)
    for reason, count in status.refused.items():
        yield Sample(f"{_PREFIX}_versions_refused_total", count, (reason,))
    if status.head is not None:
        yield Sample(f"{_PREFIX}_published_version", status.head.version)

"""The trainer's figures under the metric names of streams/contract/telemetry.py.

The training thread leaves its progress here about once a second; the metrics page reads the newest.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator

from streams.contract.telemetry import Sample
from streams.versions.publish import PublishStatus
from trainer.loop import TrainProgress

_RATE_SECONDS = 10.0


class TrainerMetrics:
    """What is known of a trainer. One thread calls `took`, any other `samples` and `degraded`."""

    def __init__(self, publish_status: Callable[[], PublishStatus] | None = None) -> None:
        """`publish_status` must be safe to call from any thread; None: nothing is published."""
        self._publish_status = publish_status
        self._progress: TrainProgress | None = None
        self._rate = Rate(_RATE_SECONDS)

    def took(self, progress: TrainProgress) -> None:
        """Keeps the newest progress."""
        self._rate.add(progress.examples)
        self._progress = progress

    def samples(self) -> Iterator[Sample]:
        """The metrics that are defined now: scores come with the first examples, times with the first version."""
        progress = self._progress
        yield Sample("freshet_examples_per_second", self._rate.now())
        if progress is not None:
            yield from _training_samples(progress)
        if self._publish_status is not None:
            yield from _publish_samples(self._publish_status(), progress)

    def degraded(self) -> list[str]:
        """What publishing waits for."""
        error = self._publish_status().error if self._publish_status is not None else ""
        return [f"publishing: {error}"] if error else []


class Rate:
    """How fast a total has grown lately; it sinks to 0 once nothing is added any more."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._points: deque[tuple[float, int]] = deque()

    def add(self, total: int) -> None:
        """The total is this much now."""
        now = time.monotonic()
        self._points.append((now, total))
        # The newest point before the span stays: it says what the total was when the span began.
        while len(self._points) > 2 and self._points[1][0] < now - self._seconds:
            self._points.popleft()

    def now(self) -> float:
        """A second, over the newest `seconds`; 0 before the second point."""
        points = list(self._points)
        if len(points) < 2 or points[-1][0] < time.monotonic() - self._seconds:
            return 0.0
        return (points[-1][1] - points[0][1]) / (time.monotonic() - points[0][0])


def _training_samples(progress: TrainProgress) -> Iterator[Sample]:
    window = progress.window
    yield Sample("freshet_examples_trained_total", progress.examples)
    yield Sample("freshet_vocabulary_rows", progress.num_rows)
    yield Sample("freshet_checkpoint_seconds", progress.checkpoint_seconds)
    if progress.newest_ingest_ms:
        yield Sample("freshet_learnt_age_seconds", time.time() - progress.newest_ingest_ms / 1000)
    if progress.click_delay:
        yield Sample("freshet_suggested_window_seconds", progress.click_delay["suggested_window_seconds"])
    for reason, count in progress.dead_letters.items():
        yield Sample("freshet_dead_letters_total", count, (reason,))
    scores = {
        "freshet_normalized_entropy": window.normalized_entropy,
        "freshet_auc": window.auc,
        "freshet_calibration": window.calibration,
        "freshet_base_rate_log_loss": window.base_rate_log_loss,
    }
    yield from (Sample(name, score) for name, score in scores.items() if not math.isnan(score))
    for stage, name in (("before", "calibration_error_before"), ("after", "calibration_error")):
        if name in progress.calibrated:
            yield Sample("freshet_calibration_error", progress.calibrated[name], (stage,))


def _publish_samples(status: PublishStatus, progress: TrainProgress | None) -> Iterator[Sample]:
    yield Sample("freshet_versions_published_total", status.num_published)
    yield Sample("freshet_publish_failures_total", status.num_failures)
    for reason, count in status.refused.items():
        yield Sample("freshet_versions_refused_total", count, (reason,))
    if status.append_ms:
        yield Sample("freshet_publish_append_seconds", status.append_ms[-1] / 1000)
    if status.write_ms:
        yield Sample("freshet_publish_write_seconds", status.write_ms[-1] / 1000)
    if status.head is None:
        return
    yield Sample("freshet_published_version", status.head.version)
    if progress is not None:
        # The progress may be a second older than the version.
        behind_ms = max(0, progress.newest_ingest_ms - status.head.newest_ingest_ms)
        yield Sample("freshet_publish_lag_seconds", behind_ms / 1000)

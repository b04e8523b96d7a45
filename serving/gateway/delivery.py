"""The thread that talks to the event log: batches as they come, then what the spool holds."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from serving.gateway.metrics import Metrics
from serving.gateway.spool import Spool
from serving.gateway.spool_segments import Spooled
from streams.contract.errors import FreshetError, UnavailableError
from streams.log.event_log import EVENTS, Append, EventLog, TopicPartition, partition_for

_LOGGER = logging.getLogger(__name__)
_SHORTEST_RETRY_SECONDS = 0.1
_LONGEST_RETRY_SECONDS = 2.0
_MAX_BATCH_EVENTS = 1000
_MAX_BATCH_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class Job:
    """One batch on its way. `spooled`: it has meanwhile been written to the spool too; `mutex` guards that."""

    records: list[Spooled]
    done: Future[None] = field(default_factory=Future)
    mutex: threading.Lock = field(default_factory=threading.Lock)
    spooled: bool = False


class Delivery:
    """Appends to the log, one batch at a time; opens the log when it must, again and again while it is away."""

    def __init__(self, open_log: Callable[[], EventLog], *, spool: Spool, metrics: Metrics) -> None:
        self.healthy = False
        self.failure: FreshetError | None = None
        self._open_log = open_log
        self._log: EventLog | None = None
        self._num_partitions = 0
        self._spool = spool
        self._metrics = metrics
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._stopping = False
        self._drain_until = 0.0
        self._retry_seconds = _SHORTEST_RETRY_SECONDS
        self._retry_at = 0.0
        self._thread = threading.Thread(target=self._run, name="event-delivery", daemon=True)

    def start(self) -> None:
        """Starts the thread, which tries the log at once."""
        self._thread.start()

    def stop(self, timeout_seconds: float) -> None:
        """Ends the thread after the batch under way, and after what the spool holds where the log takes it now.

        What it does not take within half the time stays in the spool.
        """
        self._drain_until = time.monotonic() + timeout_seconds / 2
        self._stopping = True
        self._jobs.put(None)
        self._thread.join(timeout_seconds)
        if self._log is not None and not self._thread.is_alive():
            self._log.close()

    def deliver(self, records: list[Spooled]) -> Job:
        """Hands over a batch; `Job.done` tells how it went."""
        job = Job(records)
        self._jobs.put(job)
        return job

    def notice(self) -> None:
        """Something has been written to the spool."""
        self._jobs.put(None)

    def _run(self) -> None:
        while not self._stopping:
            waiting = not self._spool.is_empty or not self.healthy
            timeout = max(0.0, self._retry_at - time.monotonic()) if waiting else None
            try:
                job = self._jobs.get(timeout=timeout)
            except queue.Empty:
                self._drain()
                continue
            if job is not None:
                self._finish(job)
        while not self._spool.is_empty and self.failure is None and time.monotonic() < self._drain_until:
            self._drain()

    def _finish(self, job: Job) -> None:
        failure = self._attempt(job.records)
        with job.mutex:
            if failure is not None:
                job.done.set_exception(failure)
                return
            job.done.set_result(None)
            if job.spooled:
                self._spool.advance(len(job.records))

    def _drain(self) -> None:
        events = self._spool.head(max_events=_MAX_BATCH_EVENTS, max_bytes=_MAX_BATCH_BYTES)
        if self._attempt(events) is None:
            self._spool.advance(len(events))
        self._metrics.spooled.set(self._spool.num_events)

    def _attempt(self, events: Sequence[Spooled]) -> FreshetError | None:
        """Appends; the error where the log did not take them, and then not before a while again."""
        try:
            self._append(events)
        except FreshetError as error:
            self._failed(error)
            return error
        except Exception as error:
            # A client library's surprise is an outage too: the events must not be lost with this thread.
            _LOGGER.exception("the event log failed")
            failure = UnavailableError(f"the event log failed: {error!r}", field="log")
            self._failed(failure)
            return failure
        if self.failure is not None:
            _LOGGER.warning("the event log is back")
        self.healthy, self.failure = True, None
        self._retry_seconds, self._retry_at = _SHORTEST_RETRY_SECONDS, 0.0
        return None

    def _append(self, events: Sequence[Spooled]) -> None:
        if self._log is None:
            self._log = self._open_log()
        if not events or not self._num_partitions:
            self._num_partitions = len(self._log.partitions(EVENTS))
        if events:
            self._log.append([self._record(event) for event in events])
            self._metrics.logged.inc(sum(1 for event in events if event.value[1:2] == b"I"))

    def _record(self, event: Spooled) -> Append:
        partition = partition_for(event.key.decode(), self._num_partitions)
        return Append(TopicPartition(EVENTS, partition), event.value, event.key)

    def _failed(self, error: FreshetError) -> None:
        if self.failure is None:
            _LOGGER.warning("the event log is away, events go to the spool: %s", error)
        self.healthy, self.failure = False, error
        self._retry_at = time.monotonic() + self._retry_seconds
        self._retry_seconds = min(2 * self._retry_seconds, _LONGEST_RETRY_SECONDS)

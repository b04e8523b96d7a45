"""Writes events to the `events` topic off the requests' path; to the spool while the log is away.

    offer, submit ──> queue ──> intake thread ── batch ──> delivery thread ──> event log
    (never block)   (bounded)        │                          │
                                     └──────> spool ────────────┘   drained in order once the log is back

Order is kept: while anything waits in the spool, newer events go behind it. A batch that the log
neither takes nor refuses within `patience_seconds` is written to the spool as well; if the log has
taken it after all, it is struck from the spool's head.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass

from serving.gateway.delivery import Delivery, Job
from serving.gateway.impressions import Answered, encode_for_log
from serving.gateway.metrics import Metrics
from serving.gateway.spool import Spool, SpoolFullError
from serving.gateway.spool_segments import Spooled
from streams.contract.errors import BackPressureError, FreshetError, InputError
from streams.contract.events import Event, Feedback, Impression

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class WriterConfig:
    """How events are batched, and how long the log may hesitate."""

    flush_seconds: float = 0.01
    max_queued: int = 4096
    """Answers and submissions waiting in memory."""
    patience_seconds: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.flush_seconds <= 0.02:
            raise InputError("must be above 0 and at most 0.02", field="writer.flush_seconds", value=self.flush_seconds)
        if self.max_queued < 1:
            raise InputError("must be at least 1", field="writer.max_queued", value=self.max_queued)


@dataclass(frozen=True, slots=True)
class _Submitted:
    records: list[Spooled]
    events: Sequence[Event]
    durable: Future[None]


class EventWriter:
    """Takes events from any thread. `start` before use; `stop` writes what is queued."""

    def __init__(
        self,
        config: WriterConfig,
        *,
        spool: Spool,
        delivery: Delivery,
        metrics: Metrics,
        observe: Callable[[Sequence[Event]], None],
    ) -> None:
        self._config = config
        self._spool = spool
        self._delivery = delivery
        self._metrics = metrics
        self._observe = observe
        self._queue: deque[Answered | _Submitted] = deque()
        self._wake = threading.Event()
        self._urgent = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="event-intake", daemon=True)
        self.dropped = 0

    def start(self) -> None:
        """Starts both threads."""
        self._delivery.start()
        self._thread.start()

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Writes what is queued to the log, or where that does not take it to the spool, then ends both threads."""
        self._stopping = True
        self._urgent.set()
        self._wake.set()
        self._thread.join(timeout_seconds)
        self._delivery.stop(timeout_seconds)

    def offer(self, shown: Answered) -> None:
        """Logs an answered request soon. Counted as dropped where the queue is full."""
        if len(self._queue) >= self._config.max_queued:
            self._drop(1)
            return
        self._queue.append(shown)
        if not self._wake.is_set():
            self._wake.set()

    def submit(self, events: Sequence[Impression | Feedback], records: list[Spooled]) -> Future[None]:
        """Done when the events are durable, in the log or in the spool; else it carries the UnavailableError.

        `records` are the events as `encode_for_log` gives them. Raises BackPressureError where the queue is full.
        """
        if self._stopping or len(self._queue) >= self._config.max_queued:
            raise BackPressureError("too many events wait to be written", remedy="send them again after Retry-After")
        submitted = _Submitted(records, events, Future())
        self._queue.append(submitted)
        self._urgent.set()
        self._wake.set()
        return submitted.durable

    @property
    def missing(self) -> list[str]:
        """Why events are being lost, if they are."""
        return [] if not self._spool.is_full else ["events: the spool is full"]

    def _run(self) -> None:
        while not (self._stopping and not self._queue):
            self._wake.wait()
            self._urgent.wait(self._config.flush_seconds)
            self._wake.clear()
            self._urgent.clear()
            while self._queue:
                self._write([self._queue.popleft() for _ in range(min(len(self._queue), 256))])

    def _write(self, entries: list[Answered | _Submitted]) -> None:
        records: list[Spooled] = []
        events: list[Event] = []
        for entry in entries:
            try:
                found = entry.events if isinstance(entry, _Submitted) else [entry.impression()]
                records += entry.records if isinstance(entry, _Submitted) else [encode_for_log(e) for e in found]
                events += found
            except Exception:
                # One answer that cannot be encoded must not end the thread on which all others depend.
                _LOGGER.exception("an impression could not be encoded")
                self._drop(1)
        error = self._store(records)
        if error is not None:
            _LOGGER.error("%d events are lost: %s", len(records), error)
            self._drop(sum(1 for entry in entries if not isinstance(entry, _Submitted)))
        for entry in entries:
            if isinstance(entry, _Submitted):
                entry.durable.set_exception(error) if error else entry.durable.set_result(None)
        self._observe(events)
        self._metrics.spooled.set(self._spool.num_events)

    def _store(self, records: list[Spooled]) -> FreshetError | None:
        """Into the log, or else the spool; the error where neither took them."""
        if not self._spool.is_empty or not self._delivery.healthy:
            return self._to_spool(records)
        job = self._delivery.deliver(records)
        try:
            job.done.result(self._config.patience_seconds)
            return None
        except FutureTimeoutError:
            return self._spool_unfinished(job)
        except FreshetError:
            return self._to_spool(records)

    def _to_spool(self, records: list[Spooled]) -> FreshetError | None:
        try:
            self._spool.append(records)
            self._delivery.notice()
            return None
        except SpoolFullError as error:
            return error

    def _spool_unfinished(self, job: Job) -> FreshetError | None:
        with job.mutex:
            if not job.done.done():
                error = self._to_spool(job.records)
                job.spooled = error is None
                if job.spooled:
                    return None
        failure = job.done.exception()
        if failure is None:
            return None
        assert isinstance(failure, FreshetError)
        return self._to_spool(job.records)

    def _drop(self, num_impressions: int) -> None:
        if num_impressions:
            self.dropped += num_impressions
            self._metrics.dropped.inc(num_impressions)

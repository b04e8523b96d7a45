"""The Publisher of whatever learns: gates deltas, and commits those that pass on a thread of its own.

    training thread   due? ──> offer ──> gate ──> one place in the queue
    own thread                                        └──> generation? append ──> write (see streams/versions/commit.py)

While one version is in flight no other is wanted, so the trainer learns on and the next version is larger:
that is the back-pressure of a slow store. Log or Redis away: the version waits and is tried again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from streams.contract.bundles import bundle_layout
from streams.contract.columns import Array
from streams.contract.errors import InputError, UnavailableError
from streams.contract.manifest import Generation, Manifest, ModelUpdate
from streams.versions.commit import Committer, PublishTarget
from streams.versions.delta import Delta
from streams.versions.retention import RetentionConfig, clean_up
from streams.versions.verdict import Gate, GateResult, LiveView
from streams.versions.version import norms_of, version_of

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishConfig:
    """`interval_seconds` between two deltas; pauses between tries double from the first to the longest."""

    interval_seconds: float = 1.0
    first_interval_seconds: float = 0.25
    """The same behind the first refusal while the generation has no version and often nothing serves; it doubles."""
    first_pause_seconds: float = 0.1
    longest_pause_seconds: float = 5.0
    upkeep_seconds: float = 30.0
    retention: RetentionConfig = field(default_factory=RetentionConfig)

    def __post_init__(self) -> None:
        if not self.interval_seconds >= 0:
            raise InputError("must not be negative", field="publish_seconds", value=self.interval_seconds,
                             remedy="give 0 or more")  # fmt: skip


@dataclass(frozen=True, slots=True)
class PublishStatus:
    """What happened so far. `error` is what is wrong now; latencies are of the newest hundred versions."""

    generation: int | None
    live: int | None
    head: Manifest | None
    in_flight: bool
    num_published: int
    refused: dict[str, int]
    """Reason -> how many deltas it stopped."""
    last_refusal: GateResult | None
    num_failures: int
    error: str
    append_ms: list[float]
    write_ms: list[float]


class _Stopped(Exception):
    """The publisher is being closed."""


class ThreadedPublisher:
    """A streams.versions.delta.Publisher. `due`, `wants_full`, `offer` and `last_step` never wait."""

    def __init__(self, target: PublishTarget, gate: Gate, config: PublishConfig | None = None) -> None:
        """Starts the thread, which first makes Redis whole; `due` is False until then. Close it after use."""
        self._target = target
        self._gate = gate
        self._config = config or PublishConfig()
        self._committer = Committer(target)
        self._job: tuple[Delta, GateResult] | None = None
        self._refusals: deque[dict[str, object]] = deque(maxlen=100)
        self._wake = threading.Condition()
        self._stopping = threading.Event()
        self._is_recovered = False
        self._fatal: Exception | None = None
        self._next_at = 0.0
        self._soon_seconds = self._config.first_interval_seconds
        self._upkeep_at = 0.0
        # what happened so far
        self._num_published = 0
        self._refused: Counter[str] = Counter()
        self._last_refusal: GateResult | None = None
        self._num_failures = 0
        self._error = ""
        self._append_ms: deque[float] = deque(maxlen=100)
        self._write_ms: deque[float] = deque(maxlen=100)
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    # the hooks, called by the training thread

    def due(self) -> bool:
        """See streams.versions.delta. Raises what ended the publisher: ConflictError where a newer one took over."""
        if self._fatal is not None:
            raise self._fatal
        return self._is_recovered and self._job is None and time.monotonic() >= self._next_at

    def wants_full(self) -> bool:
        """Whether the next version is the first of its generation."""
        return self._committer.head is None

    def last_step(self) -> int:
        """The step of the newest version committed for this generation, -1 where there is none."""
        head = self._committer.head
        return -1 if head is None else head.step

    def offer(self, delta: Delta) -> bool:
        """Gates the delta; True where it was taken and will be committed, False where it was refused."""
        if not self.due():
            return False
        self._next_at = time.monotonic() + self._config.interval_seconds
        if delta.progress.step <= self.last_step() or (self.wants_full() and not delta.full):
            return False
        generation, head = _known(self._committer.generation), self._committer.head
        live = None if head is None else LiveView(head.version, generation.generation, norms_of(head))
        result = self._gate(delta, live, self._target.schema.hash, generation)
        with self._wake:
            if result.passed:
                self._job = delta, result
            else:
                self._refuse(delta, result)
                if head is None:
                    self._next_at = time.monotonic() + min(self._soon_seconds, self._config.interval_seconds)
                    self._soon_seconds *= 2
            self._wake.notify()
        return result.passed

    # for everybody

    def status(self) -> PublishStatus:
        """What happened so far."""
        committer = self._committer
        return PublishStatus(
            None if committer.generation is None else committer.generation.generation, committer.live, committer.head,
            self._job is not None, self._num_published, dict(self._refused), self._last_refusal, self._num_failures,
            self._error, list(self._append_ms), list(self._write_ms),
        )  # fmt: skip

    def wait_until_idle(self, timeout_seconds: float) -> bool:
        """Waits until nothing is in flight; False where it still is, or the publisher has ended."""
        with self._wake:
            done = self._wake.wait_for(lambda: self._fatal is not None or self._is_idle(), timeout_seconds)
        return done and self._fatal is None

    def close(self, drain_seconds: float = 10.0) -> None:
        """Waits a while for what is in flight, then ends the thread. What was appended and not written is made good
        at the next start."""
        self.wait_until_idle(drain_seconds)
        self._stopping.set()
        with self._wake:
            self._wake.notify_all()
        self._thread.join()

    # the thread

    def _is_idle(self) -> bool:
        return self._is_recovered and self._job is None and not self._refusals

    def _refuse(self, delta: Delta, result: GateResult) -> None:
        codes = sorted({reason.code for reason in result.reasons})
        self._refused.update(codes)
        self._last_refusal = result
        step = delta.progress.step
        _LOG.warning("step %d is not published: %s", step, "; ".join(f"{r.code}: {r.message}" for r in result.reasons))
        self._refusals.append({"step": step, "wall_ms": time.time_ns() // 1_000_000, **result.as_dict()})

    def _run(self) -> None:
        try:
            self._until_done(self._committer.recover)
            self._is_recovered = True
            while not self._stopping.is_set():
                self._turn()
        except _Stopped:
            pass
        except Exception as error:
            _LOG.exception("the publisher has ended")
            self._fatal, self._error = error, str(error)
        finally:
            with self._wake:
                self._wake.notify_all()

    def _turn(self) -> None:
        with self._wake:
            self._wake.notify_all()
            self._wake.wait_for(
                lambda: self._stopping.is_set() or self._job is not None or bool(self._refusals),
                self._config.upkeep_seconds,
            )
        while self._refusals:
            self._until_done(lambda: self._target.store.report_refused(self._refusals[0]))
            self._refusals.popleft()
        if self._job is not None:
            self._commit(*self._job)
            self._job = None
        if time.monotonic() >= self._upkeep_at:
            self._upkeep_at = time.monotonic() + self._config.upkeep_seconds
            self._until_done(lambda: clean_up(self._target.store, self._committer.generation, self._config.retention))

    def _commit(self, delta: Delta, result: GateResult) -> None:
        committer = self._committer
        generation = _known(committer.generation)
        if not self._until_done(self._is_store_whole):
            self._start_generation(generation)
            return
        if delta.full and committer.head is not None:
            # The trainer forgot what it had evicted: rows that should go are known by their absence alone.
            self._start_generation(generation)
            generation = _known(committer.generation)
        update = version_of(delta, result, generation, committer.next_version, committer.head, self._target.recipe)
        ads = bundled_columns(delta, generation)
        self._until_done(committer.write_generation)
        began = time.monotonic()
        self._append(update)
        appended = time.monotonic()
        if not self._until_done(lambda: self._write(update, ads)):
            self._start_generation(generation)
            return
        self._append_ms.append(1e3 * (appended - began))
        self._write_ms.append(1e3 * (time.monotonic() - appended))
        self._num_published += 1
        _LOG.info("published version %d of generation %d", update.manifest.version, update.manifest.generation)

    def _write(self, update: ModelUpdate, ads: Array) -> bool:
        """False where Redis has lost what it held: only a new generation makes it whole."""
        if not self._is_store_whole():
            return False
        self._committer.write(update, ads)
        return True

    def _is_store_whole(self) -> bool:
        if self._committer.is_store_whole():
            return True
        _LOG.error("%s has lost the newest version: another generation starts", self._target.store.nodes.address)
        return False

    def _start_generation(self, lost: Generation) -> None:
        self._until_done(lambda: self._committer.start_generation(after=lost.generation))

    def _append(self, update: ModelUpdate) -> None:
        """Appends exactly once: a try that ended in doubt is looked up before the next."""
        in_doubt = False

        def once() -> None:
            nonlocal in_doubt
            if not (in_doubt and self._committer.was_appended(update.manifest.version)):
                in_doubt = True
                self._committer.append(update)

        self._until_done(once)

    def _until_done(self, step: Callable[[], _T]) -> _T:
        """Does `step`, again and again while a server is away. _Stopped where the publisher is closed meanwhile."""
        pause = self._config.first_pause_seconds
        while True:
            try:
                result = step()
                self._error = ""
                return result
            except UnavailableError as error:
                self._num_failures += 1
                if str(error) != self._error:
                    _LOG.warning("waiting to publish: %s", error)
                self._error = str(error)
            if self._stopping.wait(pause):
                raise _Stopped
            pause = min(2 * pause, self._config.longest_pause_seconds)


def _known(generation: Generation | None) -> Generation:
    assert generation is not None
    return generation


def bundled_columns(delta: Delta, generation: Generation) -> Array:
    """The ads seen (A, F), in the columns of the generation's bundles."""
    places = [delta.ad_keys.index(name) for name in bundle_layout(generation).names]
    ads: Array = np.ascontiguousarray(delta.ads[:, places])
    return ads

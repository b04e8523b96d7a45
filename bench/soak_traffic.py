"""What a soak sends: a stream of events into the log, and scoring requests to the gateway, each on a thread.

Rows of Criteo's shape, all from one stationary set of ids; the data's clock runs through a day and more within
the warm-up, so that whatever is remembered for a day is forgotten as fast as it comes behind it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import islice
from types import TracebackType

from bench.load import Target, measure
from bench.serve import wait_until_ready
from bench.served_model import body_of
from bench.train import load_criteo_schema
from freshet.stack import Stack
from streams.contract.events import Event
from streams.datasets.clock import ORDER_START_MS
from streams.join.partition import JoinTopics
from streams.log.event_log import EVENTS, open_log
from streams.replay import LogSink, ReplayConfig, in_time_order, replay
from streams.simulator.criteo_shaped import CriteoShape, criteo_shaped, criteo_shaped_observations
from streams.store.row_store import open_row_store

MILLISECONDS_PER_REQUEST = 200
"""Of the data's clock: 600,000 events, a tenth of them clicks, take 30 hours."""

_MOST_AHEAD_OF_JOIN = 20_000
_MOST_AHEAD_OF_TRAINER = 50_000
_CANDIDATES = 32
_BODIES_AT_ONCE = 8
_PAUSE_SECONDS = 0.5
_READY_SECONDS = 300.0


class Progress:
    """How far joiner and trainer have come, from what they commit."""

    def __init__(self, stack: Stack) -> None:
        self.log = open_log(stack.config.log)
        self._store = open_row_store(stack.config.redis, model=stack.config.model)

    def joined(self) -> int:
        """Events that the joiner has worked off: its committed offsets, summed."""
        return sum(self.log.committed_offsets(JoinTopics().group, self.log.partitions(EVENTS)).values())

    def published(self) -> tuple[int, int, int]:
        """(version, examples learnt, newest event time in ms) of the newest version stored; before it no more."""
        live = self._store.live()
        head = None if live is None else self._store.head(live)
        return (0, 0, ORDER_START_MS) if head is None else (head.version, head.examples, head.newest_event_time_ms)

    def close(self) -> None:
        """Frees log and store."""
        self._store.close()
        self.log.close()


class Traffic:
    """Replay and one scoring client; a context manager that ends both."""

    def __init__(self, stack: Stack, num_events: int) -> None:
        self.failures: list[BaseException] = []
        self.num_scored = 0
        """Different requests."""
        self._stack = stack
        self._num_events = num_events
        self._now_ms = ORDER_START_MS
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._guarded, args=(work,), daemon=True)
                         for work in (self._replay, self._score)]  # fmt: skip

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except _OverError:
            pass
        except BaseException as error:
            self.failures.append(error)

    def _replay(self) -> None:
        """Never far ahead of joiner and trainer: memory that grows with a backlog is not what is asked."""
        progress = Progress(self._stack)
        sink = LogSink(progress.log)
        sent = 0

        def throttled(events: Sequence[Event]) -> None:
            nonlocal sent
            while self._is_far_ahead(progress, sent):
                if self._stop.wait(0.05):
                    raise _OverError
            sink(events)
            sent += len(events)
            self._now_ms = max(self._now_ms, *(event.event_time_ms or 0 for event in events))

        shape = CriteoShape(milliseconds_per_request=MILLISECONDS_PER_REQUEST)
        num_events = self._num_events + _MOST_AHEAD_OF_JOIN
        observed = criteo_shaped_observations(num_events, seed=11, shape=shape)
        try:
            replay(islice(in_time_order(observed), num_events), throttled, ReplayConfig(final_tick=False))
        finally:
            progress.close()

    def _is_far_ahead(self, progress: Progress, sent: int) -> bool:
        if self._stop.is_set():
            raise _OverError
        _, _, trained_ms = progress.published()
        untrained = (self._now_ms - trained_ms) / MILLISECONDS_PER_REQUEST
        return sent - progress.joined() > _MOST_AHEAD_OF_JOIN or untrained > _MOST_AHEAD_OF_TRAINER

    def _score(self) -> None:
        """New requests all the time, with pauses, so that scoring takes its part without taking everything."""
        wait_until_ready(f"{self._stack.gateway_url}/readyz", timeout_seconds=_READY_SECONDS)
        schema = load_criteo_schema()
        # The seed of the replay: the same set of ids, other requests.
        shape = CriteoShape(candidates_per_request=_CANDIDATES, chunk_size=_CANDIDATES)
        for number, batch in enumerate(criteo_shaped(2**40, seed=11, shape=shape)):
            body = body_of(schema, batch, event_time_ms=self._now_ms)
            target = Target(f"{self._stack.gateway_url}/v1/score", body)
            self.num_scored += len(measure(target, clients=1, requests=1, warm_up=0))
            if self._stop.wait(_PAUSE_SECONDS if number % _BODIES_AT_ONCE == 0 else 0.0):
                return


class _OverError(Exception):
    """The soak has ended while events were still to be sent."""

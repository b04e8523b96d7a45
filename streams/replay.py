"""A recorded log sent again: impressions by time, each feedback at its true delay, as fast as wanted.

Where each answer's true delay is kept, a model is judged as it would have been live
(Grzenda et al., "Delayed labelling evaluation for data streams", DAMI 2020).
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from streams.contract.encoding import encode_event
from streams.contract.errors import InputError
from streams.contract.events import FINAL_TIME_MS, Event, Feedback, Impression, Tick
from streams.datasets.badlines import BadLines
from streams.datasets.events_jsonl import read_events
from streams.datasets.observed import Observed
from streams.datasets.options import DatasetOptions
from streams.datasets.registry import open_dataset, split_spec
from streams.log.event_log import EVENTS, Append, EventLog, partition_for

Sink = Callable[[Sequence[Event]], None]
"""Takes a batch of events, durably or by raising."""


def in_time_order(observed: Iterable[Observed]) -> Iterator[Event]:
    """Impressions and feedback by `event_time_ms`; an impression is before its own feedback.

    Feedback of earlier impressions is before a new impression of the same time. Memory: the
    feedback that is still to come.
    """
    waiting: list[tuple[int, int, Feedback]] = []
    arrivals = 0
    for observation in observed:
        while waiting and waiting[0][0] <= observation.impression.event_time_ms:
            yield heapq.heappop(waiting)[2]
        yield observation.impression
        for feedback in observation.feedback:
            heapq.heappush(waiting, (feedback.event_time_ms, arrivals, feedback))
            arrivals += 1
    while waiting:
        yield heapq.heappop(waiting)[2]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Events of a data set in the order to send them; `bad_lines` counts while they are read."""

    events: Iterator[Event]
    bad_lines: BadLines


def open_recording(spec: str, options: DatasetOptions | None = None) -> Recording:
    """The data set's events by time; of jsonl, the lines as they stand. Raises as `open_dataset`."""
    options = options or DatasetOptions()
    name, path = split_spec(spec)
    if name == "jsonl":
        bad_lines = BadLines(options.max_bad_lines)
        events = read_events(Path(path).expanduser(), bad_lines)
        return Recording(events=_up_to(events, options.max_impressions), bad_lines=bad_lines)
    dataset = open_dataset(spec, options)
    return Recording(events=in_time_order(dataset), bad_lines=dataset.bad_lines)


def _up_to(events: Iterator[Event], max_impressions: int | None) -> Iterator[Event]:
    impressions = 0
    for event in events:
        if isinstance(event, Impression):
            if impressions == max_impressions:
                return
            impressions += 1
        yield event


@dataclass(frozen=True, kw_only=True)
class ReplayConfig:
    """`speed` 10 sends ten seconds of data in one; None sends as fast as the sink takes it.

    `name` makes the final tick's id. `final_tick` ends the stream: leave it out where others go
    on writing. Raises InputError for a speed that is not above 0.
    """

    speed: float | None = None
    batch_size: int = 1_000
    name: str = "replay"
    final_tick: bool = True

    def __post_init__(self) -> None:
        if self.speed is not None and not 0 < self.speed < float("inf"):
            raise InputError("must be above 0", field="speed", value=self.speed,
                             remedy="give times real time, or leave it out")  # fmt: skip
        if self.batch_size < 1:
            raise InputError("must be 1 or more", field="batch_size", value=self.batch_size)


@dataclass(frozen=True, kw_only=True)
class ReplayCounts:
    """What was sent, ticks left out, and how long it took."""

    impressions: int
    feedback: int
    seconds: float

    @property
    def events(self) -> int:
        """Impressions and feedback."""
        return self.impressions + self.feedback


class WallClock:
    """The machine's time, and waiting for it."""

    def now_ms(self) -> float:
        """Milliseconds since 1970."""
        return time.time() * 1000.0

    def sleep(self, seconds: float) -> None:
        """Waits."""
        time.sleep(seconds)


def replay(events: Iterable[Event], sink: Sink, config: ReplayConfig, clock: WallClock | None = None) -> ReplayCounts:
    """Sends the events in batches, each stamped with the time of its sending, then a final tick.

    Sending the same recording again sends the same event ids. Raises what reading and the sink raise.
    """
    clock = clock or WallClock()
    start_ms = clock.now_ms()
    impressions = feedback = 0
    ended = False
    for batch in _batches(events, config, clock):
        _send(batch, sink, clock)
        impressions += sum(isinstance(event, Impression) for event in batch)
        feedback += sum(isinstance(event, Feedback) for event in batch)
        ended = isinstance(batch[-1], Tick) and batch[-1].final
    if config.final_tick and not ended:
        _send([Tick(event_id=f"{config.name}-final", event_time_ms=FINAL_TIME_MS, final=True)], sink, clock)
    seconds = (clock.now_ms() - start_ms) / 1000.0
    return ReplayCounts(impressions=impressions, feedback=feedback, seconds=seconds)


def _send(batch: list[Event], sink: Sink, clock: WallClock) -> None:
    now_ms = int(clock.now_ms())
    for event in batch:
        event.ingest_ms = now_ms
    sink(batch)


def _batches(events: Iterable[Event], config: ReplayConfig, clock: WallClock) -> Iterator[list[Event]]:
    """Batches of events that are due; waits for those that are not."""
    batch: list[Event] = []
    start_ms, first_ms = clock.now_ms(), None
    for event in events:
        if config.speed is not None and event.event_time_ms is not None:
            first_ms = event.event_time_ms if first_ms is None else first_ms
            due_ms = start_ms + (event.event_time_ms - first_ms) / config.speed
            if due_ms > clock.now_ms():
                if batch:
                    yield batch
                    batch = []
                clock.sleep(max(0.0, due_ms - clock.now_ms()) / 1000.0)
        batch.append(event)
        if len(batch) >= config.batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


class LogSink:
    """Appends events to a topic: those of a session to its partition, ticks to every partition."""

    def __init__(self, log: EventLog, topic: str = EVENTS) -> None:
        self._log = log
        self._partitions = log.partitions(topic)

    def __call__(self, events: Sequence[Event]) -> None:
        """Appends them all or none. Raises UnavailableError where the log is away."""
        self._log.append([append for event in events for append in self._appends(event)])

    def _appends(self, event: Event) -> list[Append]:
        if isinstance(event, Tick):
            return [self._tick(event, number) for number in range(len(self._partitions))]
        partition = self._partitions[partition_for(event.session_id, len(self._partitions))]
        return [Append(partition, encode_event(event), event.session_id.encode())]

    def _tick(self, tick: Tick, number: int) -> Append:
        own = Tick(
            event_id=f"{tick.event_id}-{number}",
            event_time_ms=tick.event_time_ms,
            final=tick.final,
            ingest_ms=tick.ingest_ms,
            extra=tick.extra,
        )
        return Append(self._partitions[number], encode_event(own))

"""A recorded log sent again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from streams.contract.encoding import decode_event, encode_event_json
from streams.contract.errors import InputError
from streams.contract.events import FINAL_TIME_MS, Event, Feedback, Impression, Tick
from streams.datasets.observed import Observed
from streams.datasets.options import DatasetOptions
from streams.log.event_log import EVENTS, EventLog, open_log, partition_for
from streams.replay import LogSink, ReplayConfig, WallClock, in_time_order, open_recording, replay


def observed(number: int, time_ms: int, *delays_ms: int) -> Observed:
    impression = Impression(
        event_id=f"i{number}", event_time_ms=time_ms, session_id=f"s{number}", unit_id="u", ad_ids=["a"]
    )
    feedback = [
        Feedback(
            event_id=f"f{number}-{delay_ms}",
            event_time_ms=time_ms + delay_ms,
            session_id=impression.session_id,
            impression_id=impression.event_id,
            ad_id="a",
        )
        for delay_ms in delays_ms
    ]
    return Observed(impression, feedback)


class Sent:
    """A sink that keeps its batches."""

    def __init__(self) -> None:
        self.batches: list[list[Event]] = []

    def __call__(self, events: Sequence[Event]) -> None:
        self.batches.append(list(events))

    @property
    def ids(self) -> list[str]:
        return [event.event_id for batch in self.batches for event in batch]


class HandClock(WallClock):
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.time_ms = 1_000_000.0
        self.slept: list[float] = []

    def now_ms(self) -> float:
        return self.time_ms

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time_ms += 1_000 * seconds


def test_feedback_comes_at_its_own_time_between_later_impressions() -> None:
    events = in_time_order([observed(1, 0, 25, 5), observed(2, 10), observed(3, 20, 0), observed(4, 30, 100)])
    assert [e.event_id for e in events] == ["i1", "f1-5", "i2", "i3", "f3-0", "f1-25", "i4", "f4-100"]


def test_feedback_of_one_time_keeps_its_order_and_precedes_a_new_impression() -> None:
    events = in_time_order([observed(1, 0, 10), observed(2, 5, 5), observed(3, 10)])
    assert [e.event_id for e in events] == ["i1", "i2", "f1-10", "f2-5", "i3"]


def test_events_are_taken_from_the_log_only_as_they_are_sent() -> None:
    taken: list[int] = []

    def stream() -> Iterator[Observed]:
        for number in range(100):
            taken.append(number)
            yield observed(number, number, 1)

    events = in_time_order(stream())
    assert [next(events).event_id for _ in range(3)] == ["i0", "f0-1", "i1"]
    assert len(taken) <= 3


def test_simulated_market_is_in_time_order_with_every_event_once() -> None:
    options = DatasetOptions(max_impressions=2_000)
    events = list(open_recording("simulator:delayed", options).events)
    times = [event.event_time_ms or 0 for event in events]
    assert all(a <= b for a, b in pairwise(times))
    assert len({event.event_id for event in events}) == len(events)
    shown: set[str] = set()
    for event in events:
        if isinstance(event, Impression):
            shown.add(event.event_id)
        elif isinstance(event, Feedback):
            assert event.impression_id in shown


def test_unpaced_replay_sends_full_batches_then_one_final_tick() -> None:
    sent, clock = Sent(), HandClock()
    events = in_time_order([observed(number, number * 1_000, 1) for number in range(5)])
    counts = replay(events, sent, ReplayConfig(batch_size=4, name="mine"), clock)
    assert [len(batch) for batch in sent.batches] == [4, 4, 2, 1]
    assert sent.batches[-1] == [
        Tick(event_id="mine-final", event_time_ms=FINAL_TIME_MS, final=True, ingest_ms=1_000_000)
    ]
    assert (counts.impressions, counts.feedback, counts.events) == (5, 5, 10)
    assert clock.slept == []


def test_paced_replay_waits_until_each_event_is_due_and_stamps_the_wall_clock() -> None:
    sent, clock = Sent(), HandClock()
    events = in_time_order([observed(1, 50_000, 10_000), observed(2, 50_000), observed(3, 90_000)])
    counts = replay(events, sent, ReplayConfig(speed=10, final_tick=False), clock)
    assert [[e.event_id for e in batch] for batch in sent.batches] == [["i1", "i2"], ["f1-10000"], ["i3"]]
    assert [batch[0].ingest_ms - 1_000_000 for batch in sent.batches] == [0, 1_000, 4_000]
    assert clock.slept == pytest.approx([1.0, 3.0])
    assert counts.seconds == pytest.approx(4.0)


def test_replay_without_events_still_ends_the_stream() -> None:
    sent = Sent()
    assert replay([], sent, ReplayConfig(), HandClock()).events == 0
    assert sent.ids == ["replay-final"]


def test_recording_that_ends_with_a_final_tick_gets_no_second_one() -> None:
    sent = Sent()
    replay([Tick(event_id="end", final=True)], sent, ReplayConfig(), HandClock())
    assert sent.ids == ["end"]


def test_sink_that_fails_stops_the_replay() -> None:
    def sink(events: Sequence[Event]) -> None:
        raise ConnectionError(events[0].event_id)

    with pytest.raises(ConnectionError, match="i1"):
        replay(in_time_order([observed(1, 0)]), sink, ReplayConfig(), HandClock())


@pytest.mark.parametrize(("field", "value"), [("speed", 0.0), ("speed", float("inf")), ("batch_size", 0)])
def test_config_that_cannot_be_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(InputError) as raised:
        ReplayConfig(**{field: value})  # type: ignore[arg-type]
    assert raised.value.field == field


def read_all(log: EventLog) -> list[list[Event]]:
    return [
        [decode_event(record.value) for record in log.read({partition: 0}, max_records=100_000)]
        for partition in log.partitions(EVENTS)
    ]


def test_log_holds_every_event_in_its_session_s_partition_and_a_final_tick_in_each(tmp_path: Path) -> None:
    log = open_log(f"embedded:{tmp_path}")
    try:
        log.create_topic(EVENTS, 3)
        recording = open_recording("simulator:small", DatasetOptions(max_impressions=500))
        counts = replay(recording.events, LogSink(log), ReplayConfig(batch_size=100))
        partitions = read_all(log)
    finally:
        log.close()
    ticks = [partition.pop() for partition in partitions]
    assert all(isinstance(tick, Tick) and tick.final for tick in ticks)
    assert len({tick.event_id for tick in ticks}) == 3
    assert sum(map(len, partitions)) == counts.events
    for number, partition in enumerate(partitions):
        assert partition
        for event in partition:
            assert not isinstance(event, Tick)
            assert partition_for(event.session_id, 3) == number
        times = [event.event_time_ms or 0 for event in partition]
        assert times == sorted(times)


def test_sending_again_repeats_the_same_event_ids() -> None:
    runs = []
    for _ in range(2):
        sent = Sent()
        replay(open_recording("simulator:small", DatasetOptions(max_impressions=300)).events, sent, ReplayConfig())
        runs.append(sent.ids)
    assert runs[0] == runs[1]


def test_jsonl_is_sent_as_it_stands_up_to_so_many_impressions(tmp_path: Path) -> None:
    first, second, third = observed(1, 50, 5), observed(2, 20), observed(3, 90)
    lines: list[Event] = [first.impression, second.impression, *first.feedback, Tick(event_id="t"), third.impression]
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join([*(encode_event_json(event) for event in lines), b"not an event"]) + b"\n")
    recording = open_recording(f"jsonl:{path}", DatasetOptions(max_impressions=2))
    assert [e.event_id for e in recording.events] == ["i1", "i2", "f1-5", "t"]
    recording = open_recording(f"jsonl:{path}", DatasetOptions(max_bad_lines=1))
    assert [e.event_id for e in recording.events] == ["i1", "i2", "f1-5", "t", "i3"]
    assert recording.bad_lines.count == 1

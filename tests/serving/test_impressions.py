"""What was shown reaches the log: as the right event, in order, through outages and restarts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from serving.gateway.delivery import Delivery
from serving.gateway.event_writer import EventWriter, WriterConfig
from serving.gateway.impressions import Shown, encode_for_log, positions_of
from serving.gateway.metrics import Metrics
from serving.gateway.spool import Spool, SpoolConfig
from serving.gateway.wire import ScoreRequest
from streams.contract.encoding import decode_event
from streams.contract.errors import BackPressureError, InputError, UnavailableError
from streams.contract.events import Event, Feedback, Impression
from streams.log.event_log import EVENTS, MAX_RECORD_BYTES, EventLog, open_log, partition_for
from tests.support.gateway import read_events
from tests.support.valkey import wait_until


def shown(number: int = 0, ads: Sequence[str] = ("a", "b", "c"), **request: object) -> Shown:
    """An answered request."""
    scores = np.linspace(0.1, 0.9, len(ads), dtype=np.float32)
    fields = {"unit_id": f"u{number}", "candidates": {"ad_id": list(ads), "size": list(ads)}, **request}
    return Shown(
        request=ScoreRequest(**fields),  # type: ignore[arg-type]
        request_id=f"r{number}", ad_ids=list(ads), keeps_ad_id=False, scores=scores,
        ranking=np.argsort(-scores, kind="stable"), arm="b", version=7, generation=2, flags=("x",), ingest_ms=99,
    )  # fmt: skip


class Writing:
    """A writer with its parts; the topic may come later, which makes the log an absent one until then."""

    def __init__(
        self, folder: Path, spool: SpoolConfig | None = None, *, max_queued: int = 4096, patience_seconds: float = 30.0
    ) -> None:
        self.metrics = Metrics()
        self.seen: list[Event] = []
        self.spool = Spool.open(folder / "spool", spool)
        self.delivery = Delivery(lambda: open_log(f"embedded:{folder / 'log'}"), spool=self.spool, metrics=self.metrics)
        self.writer = EventWriter(
            WriterConfig(max_queued=max_queued, patience_seconds=patience_seconds),
            spool=self.spool, delivery=self.delivery, metrics=self.metrics, observe=self.seen.extend,
        )  # fmt: skip


@contextmanager
def writing(folder: Path, spool: SpoolConfig | None = None, *, patience_seconds: float = 30.0) -> Iterator[Writing]:
    """A running writer; at the end of the block all it was given is written."""
    parts = Writing(folder, spool, patience_seconds=patience_seconds)
    parts.writer.start()
    try:
        yield parts
    finally:
        parts.writer.stop()
        parts.spool.close()


def ids(log: EventLog) -> list[str]:
    """The ids of all logged events, in order."""
    return [event.event_id for event in read_events(log)]


def failing(parts: Writing) -> bool:
    """Whether the log is known to be away."""
    return parts.delivery.failure is not None


def test_impression_carries_request_and_answer() -> None:
    impression = shown(3, user={"age": 3}, context={"hour": 4}).impression()
    assert impression == Impression(
        event_id="r3", event_time_ms=99, session_id="u3", unit_id="u3", ad_ids=["a", "b", "c"], user={"age": 3},
        context={"hour": 4}, candidates={"size": ["a", "b", "c"]}, arm="b", version=7, generation=2,
        positions=[2, 1, 0], probabilities=np.linspace(0.1, 0.9, 3, dtype=np.float32).tolist(), flags=["x"],
        ingest_ms=99,
    )  # fmt: skip


def test_session_and_time_of_the_request_are_taken_over() -> None:
    impression = shown(session_id="s", event_time_ms=5).impression()
    assert (impression.session_id, impression.event_time_ms, impression.ingest_ms) == ("s", 5, 99)


def test_positions_invert_the_ranking() -> None:
    assert positions_of(np.array([2, 0, 1])).tolist() == [1, 2, 0]


def test_impression_too_large_for_a_record_keeps_its_best_candidates() -> None:
    ads = [f"{number:04d}".ljust(600, "x") for number in range(2000)]
    record = encode_for_log(shown(0, ads).impression())
    event = decode_event(record.value)
    assert isinstance(event, Impression)
    assert len(record.key) + len(record.value) <= MAX_RECORD_BYTES
    assert 500 < len(event.ad_ids) < 2000
    assert event.ad_ids == ads[-len(event.ad_ids) :]
    assert event.candidates["size"] == event.ad_ids
    assert event.positions == list(range(len(event.ad_ids)))[::-1]
    assert event.flags == ["trimmed", "x"]


def test_offered_answers_reach_the_log_in_order_and_in_their_sessions_partition(tmp_path: Path, log: EventLog) -> None:
    log.create_topic(EVENTS, 3)
    with writing(tmp_path) as parts:
        wait_until(lambda: parts.delivery.healthy, "the log was not opened")
        for number in range(50):
            parts.writer.offer(shown(number, session_id="s"))
    assert ids(log) == [f"r{number}" for number in range(50)]
    ends = log.end_offsets(log.partitions(EVENTS))
    assert {p.partition: end for p, end in ends.items() if end} == {partition_for("s", 3): 50}
    assert parts.metrics.num_logged() == 50
    assert [event.event_id for event in parts.seen] == [f"r{number}" for number in range(50)]


def test_submitted_events_are_in_the_log_when_they_are_done(tmp_path: Path, log: EventLog) -> None:
    log.create_topic(EVENTS, 2)
    with writing(tmp_path) as parts:
        wait_until(lambda: parts.delivery.healthy, "the log was not opened")
        event = Feedback(event_id="f", event_time_ms=1, session_id="s", impression_id="r", ad_id="a")
        parts.writer.submit([event], [encode_for_log(event)]).result(30)
        assert ids(log) == ["f"]


def test_outage_goes_to_the_spool_and_drains_in_order(tmp_path: Path, log: EventLog) -> None:
    with writing(tmp_path) as parts:
        for number in range(30):
            parts.writer.offer(shown(number, session_id="s"))
        wait_until(lambda: parts.spool.num_events == 30 and failing(parts), "the events did not reach the spool")
        log.create_topic(EVENTS, 2)
        for number in range(30, 60):
            parts.writer.offer(shown(number, session_id="s"))
        wait_until(lambda: len(ids(log)) == 60, "the spool did not drain")
        wait_until(lambda: parts.spool.is_empty and not failing(parts), "what the log took stayed in the spool")
    assert ids(log) == [f"r{number}" for number in range(60)]


def test_submitted_events_are_done_when_the_spool_has_them(tmp_path: Path) -> None:
    with writing(tmp_path) as parts:
        event = shown().impression()
        parts.writer.submit([event], [encode_for_log(event)]).result(30)
        assert parts.spool.num_events == 1


def test_restart_drains_what_the_spool_held(tmp_path: Path, log: EventLog) -> None:
    with writing(tmp_path) as first:
        for number in range(20):
            first.writer.offer(shown(number, session_id="s"))
    log.create_topic(EVENTS, 1)
    with writing(tmp_path) as second:
        wait_until(lambda: len(ids(log)) == 20, "the spool did not drain")
        second.writer.offer(shown(20, session_id="s"))
    assert ids(log) == [f"r{number}" for number in range(21)]


def test_what_the_spool_holds_is_logged_before_the_writer_ends_where_the_log_is_there(
    tmp_path: Path, log: EventLog
) -> None:
    with writing(tmp_path) as first:
        for number in range(20):
            first.writer.offer(shown(number, session_id="s"))
    log.create_topic(EVENTS, 1)
    with writing(tmp_path) as second:
        second.writer.offer(shown(20, session_id="s"))
    assert second.spool.is_empty
    assert ids(log) == [f"r{number}" for number in range(21)]


def test_log_that_stalls_in_the_middle_loses_nothing_and_keeps_the_order(tmp_path: Path, log: EventLog) -> None:
    log.create_topic(EVENTS, 1)
    with writing(tmp_path, patience_seconds=0.1) as parts:
        parts.writer.offer(shown(0, session_id="s"))
        wait_until(lambda: ids(log) == ["r0"] and parts.spool.is_empty, "the first event was not logged")
        (database,) = [path for path in (tmp_path / "log").iterdir() if path.read_bytes()[:6] == b"SQLite"]
        blocker = sqlite3.connect(database, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        for number in range(1, 40):
            parts.writer.offer(shown(number, session_id="s"))
        wait_until(lambda: parts.spool.num_events > 0, "nothing reached the spool")
        for number in range(40, 60):
            parts.writer.offer(shown(number, session_id="s"))
        blocker.execute("ROLLBACK")
        blocker.close()
        wait_until(lambda: len(set(ids(log))) == 60 and parts.spool.is_empty, "the spool did not drain")
    assert ids(log) == [f"r{number}" for number in range(60)]


def test_full_spool_counts_what_it_drops_and_says_so(tmp_path: Path, log: EventLog) -> None:
    with writing(tmp_path, SpoolConfig(max_bytes=2000, segment_bytes=500)) as parts:
        for number in range(100):
            parts.writer.offer(shown(number))
            wait_until(lambda given=number + 1: len(parts.seen) == given, "an event was not handled")  # type: ignore[misc]
        assert parts.writer.missing == ["events: the spool is full"]
        event = shown(999).impression()
        with pytest.raises(UnavailableError, match="spool"):
            parts.writer.submit([event], [encode_for_log(event)]).result(30)
        kept = parts.spool.num_events
        assert parts.writer.dropped == 100 - kept > 0
        assert parts.metrics.registry.get_sample_value("freshet_impressions_dropped_total") == 100 - kept
        log.create_topic(EVENTS, 1)
        wait_until(lambda: parts.spool.is_empty, "the spool did not drain")
        assert parts.writer.missing == []
        assert len(ids(log)) == kept


def test_full_queue_drops_and_refuses_without_waiting(tmp_path: Path) -> None:
    parts = Writing(tmp_path, max_queued=2)
    for number in range(5):
        parts.writer.offer(shown(number))
    event = shown().impression()
    with pytest.raises(BackPressureError):
        parts.writer.submit([event], [encode_for_log(event)])
    assert parts.writer.dropped == 3
    parts.writer.start()
    parts.writer.stop()
    assert parts.spool.num_events == 2
    parts.spool.close()


@pytest.mark.parametrize("config", [{"flush_seconds": 0.0}, {"flush_seconds": 0.5}, {"max_queued": 0}])
def test_configuration_that_cannot_be_is_refused(config: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(config))):
        WriterConfig(**config)  # type: ignore[arg-type]

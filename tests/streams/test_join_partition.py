"""One partition's join over a log: what happens when something breaks between its steps."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from streams.contract.errors import ConflictError, UnavailableError
from streams.contract.events import Event
from streams.join.config import JoinConfig
from streams.join.partition import JoinTopics, PartitionJoin
from streams.join.state import JoinState
from streams.log.embedded_log import EmbeddedLog
from streams.log.event_log import DEAD_LETTERS, EVENTS, EXAMPLES, Append, TopicPartition
from tests.support.join_streams import read_values
from tests.support.joining import SHORT, SOURCE, click, flatten, impression, records_of, tick

EVENTS_BEFORE: list[Event] = [impression("i", 0), click("i", "b", 4), impression("j", 5), click("k", "a", 6)]
EVENTS_AFTER: list[Event] = [tick("t", 12), impression("k", 6), click("j", "a", 14), tick("u", final=True)]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    """A log with one partition of each topic."""
    log = EmbeddedLog.open(tmp_path / "log")
    for topic in (EVENTS, EXAMPLES, DEAD_LETTERS):
        log.create_topic(topic, 1)
    yield log
    log.close()


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """Where the state file goes."""
    return tmp_path / "state"


def _open(log: EmbeddedLog, state_dir: Path | None, config: JoinConfig = SHORT) -> PartitionJoin:
    return PartitionJoin.open(log, JoinTopics(), config, 0, state_dir)


def _append(log: EmbeddedLog, events: list[Event]) -> None:
    log.append([Append(SOURCE, record.value) for record in records_of(events)])


def _step(log: EmbeddedLog, join: PartitionJoin) -> None:
    join.step(log.read({SOURCE: join.next_offset}))


def _state_file(state_dir: Path) -> Path:
    return state_dir / "join-join-0.sqlite"


def _finish(log: EmbeddedLog, state_dir: Path | None) -> list[str]:
    """Joins the rest with a new joiner; all the examples and marks, in short."""
    _append(log, EVENTS_AFTER)
    join = _open(log, state_dir)
    _step(log, join)
    join.close()
    items = flatten(read_values(log, TopicPartition(EXAMPLES, 0)))
    return ["|" if "mark" in item else f"{item['key'][0]}/{item['key'][1]}={item['label'][0]}" for item in items]


EXPECTED = ["i/b=1", "i/a=0", "|", "k/a=1", "j/a=1", "j/b=0", "k/b=0", "|"]


def test_join_reopened_between_steps_goes_on_where_it_was(log: EmbeddedLog, state_dir: Path) -> None:
    _append(log, EVENTS_BEFORE)
    join = _open(log, state_dir)
    _step(log, join)
    join.close()
    assert _finish(log, state_dir) == EXPECTED


def test_crash_between_the_logs_commit_and_the_states_emits_nothing_twice(
    log: EmbeddedLog, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _append(log, EVENTS_BEFORE)
    join = _open(log, state_dir)

    def fail(*args: object, **kwargs: object) -> None:
        raise UnavailableError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(JoinState, "commit", fail)
        with pytest.raises(UnavailableError):
            _step(log, join)
    join.close()
    assert log.committed_offsets("join", [SOURCE]) == {SOURCE: 4}
    assert _finish(log, state_dir) == EXPECTED


def test_crash_before_the_logs_commit_loses_nothing(
    log: EmbeddedLog, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _append(log, EVENTS_BEFORE)
    join = _open(log, state_dir)

    def fail(*args: object, **kwargs: object) -> None:
        raise UnavailableError("no broker")

    with monkeypatch.context() as patched:
        patched.setattr(log, "transaction", fail)
        with pytest.raises(UnavailableError):
            _step(log, join)
    join.close()
    assert _finish(log, state_dir) == EXPECTED


def test_missing_state_is_rebuilt_and_said_so(
    log: EmbeddedLog, state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _append(log, EVENTS_BEFORE)
    join = _open(log, state_dir)
    _step(log, join)
    join.close()
    _state_file(state_dir).unlink()
    with caplog.at_level(logging.INFO):
        assert _finish(log, state_dir) == EXPECTED
    assert "rebuilding state from offset 0 to 4" in caplog.text


@pytest.mark.parametrize("damage", ["truncated", "overwritten", "other format", "no database", "wrong meta"])
def test_damaged_state_is_rebuilt_and_said_so(
    log: EmbeddedLog, state_dir: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    _append(log, EVENTS_BEFORE)
    join = _open(log, state_dir)
    _step(log, join)
    join.close()
    _damage(_state_file(state_dir), damage)
    assert _finish(log, state_dir) == EXPECTED
    assert "it is rebuilt from the log" in caplog.text


def _damage(file: Path, how: str) -> None:
    data = file.read_bytes()
    if how == "truncated":
        file.write_bytes(data[: len(data) // 2])
    elif how == "overwritten":
        file.write_bytes(data[:100] + b"\xff" * (len(data) - 100))
    elif how == "no database":
        file.write_bytes(b"something else entirely " * 100)
    else:
        db = sqlite3.connect(file)
        db.execute("PRAGMA user_version = 99" if how == "other format" else "UPDATE meta SET value = x'00'")
        db.commit()
        db.close()


def test_state_ahead_of_the_log_raises_conflict_error_with_the_remedy(log: EmbeddedLog, state_dir: Path) -> None:
    _append(log, EVENTS_BEFORE)
    join = _open(log, state_dir)
    _step(log, join)
    join.close()
    log.commit_offsets("join", {SOURCE: 2})
    with pytest.raises(ConflictError, match="ahead of the group's offset 2") as caught:
        _open(log, state_dir)
    assert "delete" in (caught.value.remedy or "")


def test_state_of_another_log_raises_conflict_error(log: EmbeddedLog, state_dir: Path, tmp_path: Path) -> None:
    _append(log, EVENTS_BEFORE)
    join = _open(log, state_dir)
    _step(log, join)
    join.close()
    other = EmbeddedLog.open(tmp_path / "other")
    for topic in (EVENTS, EXAMPLES, DEAD_LETTERS):
        other.create_topic(topic, 1)
    _append(other, EVENTS_AFTER)
    other.commit_offsets("join", {SOURCE: 4})
    with pytest.raises(ConflictError, match="belongs to another log"):
        _open(other, state_dir)
    other.close()


def test_state_of_other_windows_raises_conflict_error(log: EmbeddedLog, state_dir: Path) -> None:
    _append(log, EVENTS_BEFORE)
    join = _open(log, state_dir)
    _step(log, join)
    join.close()
    with pytest.raises(ConflictError, match="other windows"):
        _open(log, state_dir, replace(SHORT, windows_ms={"click": 11}))


def test_refused_state_can_be_opened_again(log: EmbeddedLog, state_dir: Path) -> None:
    test_state_of_other_windows_raises_conflict_error(log, state_dir)
    assert _finish(log, state_dir) == EXPECTED


def test_events_deleted_before_they_were_joined_raise_conflict_error(log: EmbeddedLog, state_dir: Path) -> None:
    _append(log, EVENTS_BEFORE)
    log.commit_offsets("join", {SOURCE: 1})
    log.trim({SOURCE: 3})
    with pytest.raises(ConflictError, match="events 1 to 2 were deleted"):
        _open(log, state_dir)


def test_state_behind_the_oldest_event_kept_goes_on_from_there(
    log: EmbeddedLog, state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _append(log, EVENTS_BEFORE)
    join = _open(log, state_dir)
    join.step(log.read({SOURCE: 0}, max_records=1))
    join.close()
    log.commit_offsets("join", {SOURCE: 4})
    log.trim({SOURCE: 3})
    assert _finish(log, state_dir)[-1] == "|"
    assert "the oldest event kept is 3" in caplog.text


def test_first_start_joins_from_the_oldest_event_kept(log: EmbeddedLog) -> None:
    _append(log, EVENTS_BEFORE)
    log.trim({SOURCE: 2})
    assert _finish(log, None) == ["|", "k/a=1", "j/a=1", "j/b=0", "k/b=0", "|"]


def test_stats_count_what_was_committed(log: EmbeddedLog, state_dir: Path) -> None:
    _append(log, [*EVENTS_BEFORE, impression("i", 0)])
    join = _open(log, state_dir)
    _step(log, join)
    stats = join.stats
    assert (stats.impressions, stats.feedback, stats.positives, stats.duplicates) == (2, 2, 1, 1)
    assert (stats.held, stats.open_windows, stats.watermark_ms) == (1, 2, 6)
    join.close()

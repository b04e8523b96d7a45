"""What every event log promises of its ends, of trimming, and of offsets committed, over each of them."""

from __future__ import annotations

import pytest

from streams.contract.errors import InputError
from streams.log.event_log import EventLog, at_end
from tests.support.log_processes import read_all
from tests.support.log_records import NewTopic, OpenAnother, appends, values


@pytest.mark.parametrize("offset", [3, 1000, -1])
def test_read_from_offset_behind_the_end_raises_input_error(log: EventLog, new_topic: NewTopic, offset: int) -> None:
    (partition,) = new_topic(1)
    log.append(appends(partition, "a", "b"))
    with pytest.raises(InputError) as raised:
        log.read({partition: offset}, timeout_seconds=1)
    assert str(partition) in str(raised.value)


def test_read_from_the_end_is_no_error(log: EventLog, new_topic: NewTopic) -> None:
    (partition,) = new_topic(1)
    ends = log.append(appends(partition, "a", "b"))
    assert log.read(ends) == []


def test_trim_deletes_what_lies_before(log: EventLog, new_topic: NewTopic) -> None:
    first, second = new_topic(2)
    log.append(appends(first, "a", "b", "c") + appends(second, "d"))
    log.trim({first: 2})
    assert log.begin_offsets([first, second]) == {first: 2, second: 0}
    assert read_all(log, [first, second]) == [b"c", b"d"]
    log.trim({first: 1})
    assert log.begin_offsets([first]) == {first: 2}


def test_read_from_offset_before_oldest_raises_input_error(log: EventLog, new_topic: NewTopic) -> None:
    (partition,) = new_topic(1)
    log.append(appends(partition, "a", "b", "c"))
    log.trim({partition: 2})
    with pytest.raises(InputError, match="keeps 2 to 3"):
        log.read({partition: 1})


def test_trim_under_a_reader_makes_its_next_offset_an_input_error(log: EventLog, new_topic: NewTopic) -> None:
    (partition,) = new_topic(1)
    log.append(appends(partition, "a"))
    assert values(log.read({partition: 0})) == [b"a"]
    log.append(appends(partition, "b", "c"))
    log.trim({partition: 3})
    with pytest.raises(InputError, match="keeps 3"):
        log.read({partition: 1}, timeout_seconds=5)
    assert log.read({partition: 3}) == []


def test_trim_behind_the_end_raises_input_error(log: EventLog, new_topic: NewTopic) -> None:
    (partition,) = new_topic(1)
    with pytest.raises(InputError):
        log.trim({partition: 1})


def test_committed_offsets_are_kept_by_group(log: EventLog, new_topic: NewTopic, open_another: OpenAnother) -> None:
    first, second = new_topic(2)
    group = first.topic
    assert log.committed_offsets(group, [first]) == {}
    log.commit_offsets(group, {first: 4})
    log.commit_offsets(group + "-b", {first: 9, second: 2})
    log.commit_offsets(group, {first: 5})
    other = open_another()
    assert other.committed_offsets(group, [first, second]) == {first: 5}
    assert other.committed_offsets(group + "-b", [second]) == {second: 2}


def test_commit_of_negative_offset_raises_input_error(log: EventLog, new_topic: NewTopic) -> None:
    (partition,) = new_topic(1)
    with pytest.raises(InputError):
        log.commit_offsets("group", {partition: -1})


def test_at_end_is_true_only_where_all_is_read(log: EventLog, new_topic: NewTopic) -> None:
    first, second = new_topic(2)
    assert at_end(log, {first: 0, second: 0})
    with log.transaction("writer-" + first.topic) as transaction:
        transaction.append(appends(first, "a", "b") + appends(second, "c"))
    assert not at_end(log, {first: 2, second: 0})
    assert not at_end(log, {first: 1, second: 1})
    assert at_end(log, {first: 2, second: 1})
    assert values(log.read({first: 0})) == [b"a", b"b"]

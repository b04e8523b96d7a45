"""What every event log promises of transactions and of who may write them, over each of them."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

import pytest

from streams.contract.errors import ConflictError, NotFoundError
from streams.log.event_log import EventLog, TopicPartition, claim
from tests.support import log_processes
from tests.support.log_processes import GROUP, RECORDS_A_TRANSACTION, read_all
from tests.support.log_records import NewTopic, OpenAnother, appends


def write(
    log: EventLog,
    partition: TopicPartition,
    text: str,
    *,
    offsets_of: TopicPartition | None = None,
    before_end: Callable[[], None] = lambda: None,
) -> None:
    """One transaction: a record, and an offset of the group named as the topic."""
    with log.transaction("writer-" + partition.topic) as transaction:
        transaction.append(appends(partition, text))
        transaction.commit_offsets(partition.topic, {offsets_of or partition: 7})
        before_end()


def test_transaction_is_invisible_until_it_ends(log: EventLog, new_topic: NewTopic, open_another: OpenAnother) -> None:
    first, second = new_topic(2)
    reader = open_another()
    with log.transaction("writer-" + first.topic) as transaction:
        transaction.append(appends(first, "a"))
        transaction.append(appends(second, "b"))
        transaction.commit_offsets(first.topic, {first: 7})
        assert reader.read({first: 0, second: 0}, timeout_seconds=0.05) == []
        assert reader.committed_offsets(first.topic, [first]) == {}
    assert read_all(reader, [first, second]) == [b"a", b"b"]
    assert reader.committed_offsets(first.topic, [first, second]) == {first: 7}


def test_transaction_left_by_exception_leaves_nothing_and_passes_it_on(log: EventLog, new_topic: NewTopic) -> None:
    (partition,) = new_topic(1)

    def fail() -> None:
        raise OSError("mine")

    with pytest.raises(OSError, match="mine"):
        write(log, partition, "never", before_end=fail)
    with log.transaction("writer-" + partition.topic) as transaction:
        transaction.append(appends(partition, "after"))
    assert read_all(log, [partition]) == [b"after"]
    assert log.committed_offsets(partition.topic, [partition]) == {}


def test_transactions_of_one_id_follow_each_other(log: EventLog, new_topic: NewTopic) -> None:
    partitions = new_topic(2)
    for number in range(10):
        with log.transaction("writer-" + partitions[0].topic) as transaction:
            transaction.append(appends(partitions[number % 2], str(number)))
    assert read_all(log, partitions) == [b"0", b"2", b"4", b"6", b"8", b"1", b"3", b"5", b"7", b"9"]


def test_transaction_with_offsets_alone_commits_them(log: EventLog, new_topic: NewTopic) -> None:
    (partition,) = new_topic(1)
    with log.transaction("writer-" + partition.topic) as transaction:
        transaction.commit_offsets(partition.topic, {partition: 3})
    assert log.committed_offsets(partition.topic, [partition]) == {partition: 3}


def test_transaction_opened_twice_in_one_log_raises_conflict(log: EventLog, new_topic: NewTopic) -> None:
    name = "writer-" + new_topic(1)[0].topic
    with log.transaction(name), pytest.raises(ConflictError, match="open already"), log.transaction(name):
        pass


def test_transaction_to_unknown_partition_raises_not_found_and_writes_nothing(
    log: EventLog, new_topic: NewTopic
) -> None:
    (partition,) = new_topic(1)
    missing = TopicPartition(partition.topic, 5)
    with pytest.raises(NotFoundError):
        write(log, partition, "never", offsets_of=missing)
    assert read_all(log, [partition]) == []


def test_older_user_of_transactional_id_is_fenced(
    log: EventLog, new_topic: NewTopic, open_another: OpenAnother
) -> None:
    (partition,) = new_topic(1)
    name = "writer-" + partition.topic
    newer = open_another()
    with log.transaction(name) as transaction:
        transaction.append(appends(partition, "older, before"))
    with pytest.raises(ConflictError):
        write(log, partition, "older, fenced", before_end=lambda: claim(newer, name))
    with newer.transaction(name) as transaction:
        transaction.append(appends(partition, "newer"))
    assert read_all(newer, [partition]) == [b"older, before", b"newer"]
    assert newer.committed_offsets(partition.topic, [partition]) == {}


def test_fenced_log_stays_fenced(log: EventLog, new_topic: NewTopic, open_another: OpenAnother) -> None:
    (partition,) = new_topic(1)
    name = "writer-" + partition.topic
    claim(log, name)
    claim(open_another(), name)
    for _ in range(2):
        with pytest.raises(ConflictError), log.transaction(name) as transaction:
            transaction.append(appends(partition, "fenced"))
    assert read_all(log, [partition]) == []


def test_different_transactional_ids_do_not_fence_each_other(
    log: EventLog, new_topic: NewTopic, open_another: OpenAnother
) -> None:
    (partition,) = new_topic(1)
    other = open_another()
    with log.transaction("one-" + partition.topic) as one, other.transaction("two-" + partition.topic) as two:
        one.append(appends(partition, "1"))
        two.append(appends(partition, "2"))
    assert sorted(read_all(log, [partition])) == [b"1", b"2"]


def test_writer_killed_at_any_moment_leaves_whole_transactions(log: EventLog, new_topic: NewTopic) -> None:
    partitions = new_topic(2)
    name = "writer-" + partitions[0].topic
    random.seed(7)
    for life in range(5):
        with log_processes.start("write", log.address, partitions[0].topic, name) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline().startswith("from ")
            assert life or writer.stdout.readline() == "committed\n", "there must be something to find"
            time.sleep(random.uniform(0, 0.4))
            writer.kill()
    claim(log, name)
    counts = Counter(int(value) for value in read_all(log, partitions))
    assert set(counts.values()) == {RECORDS_A_TRANSACTION}
    assert sorted(counts) == list(range(len(counts)))
    assert log.committed_offsets(GROUP, partitions[:1]) == {partitions[0]: len(counts)}

"""What every event log promises of appends, reads and topics, over each of them."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from streams.contract.errors import ConflictError, InputError, NotFoundError, TooLargeError
from streams.log.event_log import MAX_RECORD_BYTES, Append, EventLog, TopicPartition, open_log, partition_for
from tests.support import log_processes
from tests.support.log_processes import read_all
from tests.support.log_records import NewTopic, OpenAnother, appends, values


def test_log_of_each_kind_is_an_event_log(log: EventLog, log_address: str) -> None:
    assert isinstance(log, EventLog)
    assert log.address == log_address


def test_read_returns_records_in_append_order(log: EventLog, new_topic: NewTopic) -> None:
    (partition,) = new_topic(1)
    log.append(appends(partition, "a", "b"))
    log.append(appends(partition, "c"))
    assert values(log.read({partition: 0}, timeout_seconds=10)) == [b"a", b"b", b"c"]


def test_read_record_carries_key_partition_and_wall_clock(log: EventLog, new_topic: NewTopic) -> None:
    _, partition = new_topic(2)
    before_ms = time.time_ns() // 1_000_000
    log.append([Append(partition, b"value", key=b"key"), Append(partition, b"other")])
    with_key, without_key = log.read({partition: 0}, timeout_seconds=10)
    assert (with_key.partition, with_key.key, with_key.value) == (partition, b"key", b"value")
    assert without_key.key is None
    assert before_ms <= with_key.timestamp_ms <= time.time_ns() // 1_000_000


def test_append_returns_offset_behind_last_record_of_each_partition(log: EventLog, new_topic: NewTopic) -> None:
    first, second = new_topic(2)
    ends = log.append(appends(first, "a", "b") + appends(second, "c"))
    assert ends == {first: 2, second: 1}
    assert all(log.end_offsets([first, second])[partition] >= end for partition, end in ends.items())


def test_append_of_nothing_changes_nothing(log: EventLog, new_topic: NewTopic) -> None:
    (partition,) = new_topic(1)
    assert log.append([]) == {}
    assert log.end_offsets([partition]) == {partition: 0}


def test_offsets_rise_and_reading_goes_on_behind_the_last(log: EventLog, new_topic: NewTopic) -> None:
    (partition,) = new_topic(1)
    for number in range(5):
        log.append(appends(partition, f"{number}a", f"{number}b"))
    offset, seen = 0, []
    while records := log.read({partition: offset}, max_records=3):
        assert all(record.offset >= offset for record in records)
        seen += values(records)
        offset = records[-1].offset + 1
    assert seen == [f"{number}{letter}".encode() for number in range(5) for letter in "ab"]


def test_read_from_the_middle_and_again_returns_the_same(log: EventLog, new_topic: NewTopic) -> None:
    (partition,) = new_topic(1)
    log.append(appends(partition, "a", "b", "c"))
    for _ in range(2):
        assert values(log.read({partition: 1})) == [b"b", b"c"]


def test_read_returns_at_most_max_records_a_partition(log: EventLog, new_topic: NewTopic) -> None:
    partitions = new_topic(2)
    log.append([Append(partition, b"x") for partition in partitions for _ in range(10)])
    counts = Counter(record.partition for record in log.read(dict.fromkeys(partitions, 0), max_records=4))
    assert max(counts.values()) <= 4


def test_read_partitions_by_turns_returns_every_record_once(log: EventLog, new_topic: NewTopic) -> None:
    partitions = new_topic(3)
    written = {partition: [f"{partition}-{n}".encode() for n in range(700)] for partition in partitions}
    log.append([Append(partition, value) for partition in partitions for value in written[partition]])
    offsets, seen = dict.fromkeys(partitions, 0), {partition: list[bytes]() for partition in partitions}
    for turn in range(100):
        partition = partitions[turn % 3]
        records = log.read({partition: offsets[partition]}, max_records=40)
        seen[partition] += values(records)
        offsets[partition] = records[-1].offset + 1 if records else offsets[partition]
    assert seen == written


def test_read_without_records_returns_nothing_after_the_timeout(log: EventLog, new_topic: NewTopic) -> None:
    (partition,) = new_topic(1)
    assert log.read({partition: 0}, timeout_seconds=0.05) == []
    assert log.read({}, timeout_seconds=0) == []


def test_read_waits_for_a_record_of_another_writer(
    log: EventLog, new_topic: NewTopic, open_another: OpenAnother
) -> None:
    (partition,) = new_topic(1)
    other = open_another()
    writer = threading.Timer(0.2, other.append, [appends(partition, "late")])
    writer.start()
    assert values(log.read({partition: 0}, timeout_seconds=60)) == [b"late"]
    writer.join()


@pytest.mark.parametrize("value", [b"", "Grüße 🎈 \0".encode(), b"\xff" * 500_000, b"x" * MAX_RECORD_BYTES])
def test_append_of_any_bytes_reads_back_the_same(log: EventLog, new_topic: NewTopic, value: bytes) -> None:
    (partition,) = new_topic(1)
    log.append([Append(partition, value)])
    assert values(log.read({partition: 0})) == [value]


def test_append_of_several_megabytes_is_whole(log: EventLog, new_topic: NewTopic) -> None:
    (partition,) = new_topic(1)
    written = [bytes([number]) * 400_000 for number in range(12)]
    log.append([Append(partition, value) for value in written])
    assert read_all(log, [partition]) == written


def test_append_of_oversized_record_raises_too_large_and_writes_nothing(log: EventLog, new_topic: NewTopic) -> None:
    first, second = new_topic(2)
    with pytest.raises(TooLargeError) as raised:
        log.append([Append(first, b"fits"), Append(second, b"x" * (MAX_RECORD_BYTES + 1))])
    assert str(second) in str(raised.value)
    assert str(MAX_RECORD_BYTES + 1) in str(raised.value)
    assert read_all(log, [first, second]) == []


def test_append_to_unknown_partition_raises_not_found_and_writes_nothing(log: EventLog, new_topic: NewTopic) -> None:
    (partition,) = new_topic(1)
    with pytest.raises(NotFoundError):
        log.append([Append(partition, b"x"), Append(TopicPartition(partition.topic, 1), b"x")])
    with pytest.raises(NotFoundError):
        log.append([Append(TopicPartition("nobody-made-it", 0), b"x")])
    assert read_all(log, [partition]) == []


def test_create_topic_again_with_as_many_partitions_does_nothing(log: EventLog, new_topic: NewTopic) -> None:
    partitions = new_topic(3)
    log.append(appends(partitions[2], "kept"))
    log.create_topic(partitions[0].topic, 3)
    assert partitions == [TopicPartition(partitions[0].topic, number) for number in range(3)]
    assert read_all(log, partitions) == [b"kept"]


def test_create_topic_with_other_partitions_raises_conflict(log: EventLog, new_topic: NewTopic) -> None:
    (partition,) = new_topic(1)
    with pytest.raises(ConflictError, match="1 partition"):
        log.create_topic(partition.topic, 2)


@pytest.mark.parametrize(("topic", "partitions"), [("no spaces", 1), ("", 1), ("..", 1), ("x" * 250, 1), ("fine", 0)])
def test_create_topic_with_bad_name_or_count_raises_input_error(log: EventLog, topic: str, partitions: int) -> None:
    with pytest.raises(InputError):
        log.create_topic(topic, partitions)


def test_partitions_of_unknown_topic_raises_not_found(log: EventLog) -> None:
    with pytest.raises(NotFoundError, match="nobody-made-it"):
        log.partitions("nobody-made-it")
    with pytest.raises(NotFoundError):
        log.read({TopicPartition("nobody-made-it", 0): 0})


def test_reopened_log_holds_what_was_written(log: EventLog, new_topic: NewTopic, open_another: OpenAnother) -> None:
    partitions = new_topic(2)
    log.append(appends(partitions[0], "a") + appends(partitions[1], "b"))
    log.close()
    assert read_all(open_another(), partitions) == [b"a", b"b"]


def test_second_process_reads_what_the_first_wrote(log: EventLog, new_topic: NewTopic) -> None:
    partitions = new_topic(2)
    log.append([Append(partitions[number % 2], str(number).encode()) for number in range(100)])
    with log_processes.start("read", log.address, partitions[0].topic) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.split() == [*map(str, range(0, 100, 2)), *map(str, range(1, 100, 2))]


def test_threads_share_one_log(log: EventLog, new_topic: NewTopic) -> None:
    partitions = new_topic(2)
    seen: dict[int, list[bytes]] = {}

    def write_all(writer: int) -> None:
        for number in range(20):
            log.append(appends(partitions[number % 2], f"{writer}:{number}"))

    def read(reader: int) -> None:
        offsets, collected = dict.fromkeys(partitions, 0), list[bytes]()
        while len(collected) < 80:
            for record in log.read(offsets, timeout_seconds=1):
                collected.append(record.value)
                offsets[record.partition] = record.offset + 1
        seen[reader] = collected

    threads = [threading.Thread(target=write_all, args=[number]) for number in range(4)]
    threads += [threading.Thread(target=read, args=[number]) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    written = {f"{writer}:{number}".encode() for writer in range(4) for number in range(20)}
    assert [set(collected) for collected in seen.values()] == [written, written]
    for writer in range(4):
        own = [value for value in read_all(log, partitions[:1]) if value.startswith(b"%d:" % writer)]
        assert own == [f"{writer}:{number}".encode() for number in range(0, 20, 2)]


def test_partition_for_is_the_same_everywhere() -> None:
    assert [partition_for(key, 8) for key in ("s1", "s2", "Grüße")] == [1, 2, 0]
    assert {partition_for(f"session-{number}", 4) for number in range(100)} == {0, 1, 2, 3}


@pytest.mark.parametrize("address", ["redis://localhost", "http://localhost:9092", "embedded:", ""])
def test_open_log_of_what_is_no_address_raises_input_error(address: str) -> None:
    with pytest.raises(InputError, match="embedded:DIR"):
        open_log(address)

"""Turns of partitions: the same batches however records are cut, whenever they arrive, wherever reading begins."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from streams.contract.errors import InputError
from streams.contract.examples import ExampleBatch, Mark, concat_batches
from streams.log.event_log import EventLog, TopicPartition
from streams.turns.cursor import Cursor, cursor_from_state
from streams.turns.source import ExampleSource, SourceConfig, Turn
from streams.turns.turns import MOST_PASSED_OVER
from tests.support.log_records import NewTopic
from tests.support.toy_examples import append_all, toy_batch

FINAL = Mark(final=True)


def source(log: EventLog, partitions: Sequence[TopicPartition], **options: Any) -> ExampleSource:
    runtime = {name: options.pop(name) for name in ("cursor", "stop", "on_undecodable") if name in options}
    config = SourceConfig(**{"topic": partitions[0].topic, "batch_size": 10, "poll_seconds": 0.05, **options})
    return ExampleSource(log, config, **runtime)


def all_turns(of: ExampleSource) -> list[Turn]:
    turns = []
    while (turn := of.next_turn()) is not None:
        turns.append(turn)
    return turns


def names(turns: Sequence[Turn]) -> list[list[str]]:
    """For each turn with examples, `impression/place` of each example."""
    batches = [turn.examples for turn in turns if turn.examples is not None]
    return [
        [f"{b.impression_id[r]}/{ad}" for r, ad in zip(b.request_index.tolist(), b.ad_id, strict=True)] for b in batches
    ]


def cut(batch: ExampleBatch, *places: int) -> list[ExampleBatch]:
    ends = [0, *places, len(batch)]
    return [batch.slice(a, b) for a, b in itertools.pairwise(ends)]


def test_batches_come_from_partitions_in_turn_and_end_at_size_or_mark(log: EventLog, new_topic: NewTopic) -> None:
    partitions = new_topic(2)
    append_all(log, partitions[0], [toy_batch(4, seed=0), Mark(), toy_batch(2, start=50, seed=0), FINAL])
    append_all(log, partitions[1], [Mark(), toy_batch(3, seed=1), FINAL])
    batches = names(all_turns(source(log, partitions)))
    firsts = [(batch[0].split("/")[0], len(batch)) for batch in batches]
    assert firsts == [("i0-0", 10), ("i1-0", 10), ("i0-2", 6), ("i1-2", 2), ("i0-50", 8)]


def test_records_cut_anywhere_give_the_same_turns(log: EventLog, new_topic: NewTopic) -> None:
    whole, pieces = new_topic(1), new_topic(1)
    batch = toy_batch(13)
    append_all(log, whole[0], [batch, Mark(), toy_batch(3, start=90), FINAL])
    append_all(log, pieces[0], [*cut(batch, 1, 7, 19, 20, 41), Mark(), *cut(toy_batch(3, start=90), 5), FINAL])
    assert names(all_turns(source(log, whole))) == names(all_turns(source(log, pieces)))


def test_every_example_comes_once_and_in_the_order_of_its_partition(log: EventLog, new_topic: NewTopic) -> None:
    partitions = new_topic(3)
    for number, partition in enumerate(partitions):
        append_all(log, partition, [toy_batch(5 + number, start=20 * n, seed=number) for n in range(4)] + [FINAL])
    flat = [name for batch in names(all_turns(source(log, partitions, max_records=2))) for name in batch]
    for number in range(3):
        expected = [Turn(toy_batch(5 + number, start=20 * n, seed=number), Cursor(positions=())) for n in range(4)]
        of_partition = [name for name in flat if name.startswith(f"i{number}-")]
        assert of_partition == [name for batch in names(expected) for name in batch]


def test_source_from_any_cursor_goes_on_as_the_uninterrupted_one(log: EventLog, new_topic: NewTopic) -> None:
    partitions = new_topic(2)
    for number, partition in enumerate(partitions):
        contents = [toy_batch(3 + n, start=40 * n, seed=number) for n in range(5)]
        append_all(log, partition, [contents[0], b"damaged", *contents[1:3], Mark(), Mark(), *contents[3:], FINAL])
    turns = all_turns(source(log, partitions))
    for at, turn in enumerate(turns[:-1]):
        rest = all_turns(source(log, partitions, cursor=turn.cursor))
        assert names(rest) == names(turns[at + 1 :])
        assert rest[-1].cursor == turns[-1].cursor


def of_second(*seconds: int, seed: int) -> list[ExampleBatch | Mark]:
    """What a partition gets in those seconds: a request with four ads each, and a mark at the end of a second."""
    contents: list[ExampleBatch | Mark] = []
    for number, second in enumerate(seconds):
        settled_ms = np.full(4, 1000 * second, dtype=np.int64)
        contents.append(toy_batch(1, start=number, seed=seed, decided_ingest_ms=settled_ms))
        if second not in seconds[number + 1 :]:
            contents.append(Mark(ingest_ms=1000 * second + 999))
    return contents


def test_partition_with_more_batches_between_marks_has_more_turns_and_does_not_fall_behind(
    log: EventLog, new_topic: NewTopic
) -> None:
    partitions = new_topic(2)
    busy, calm = [n // 5 for n in range(1, 51)], list(range(11))
    append_all(log, partitions[0], [*of_second(*busy, seed=0), FINAL])
    append_all(log, partitions[1], [*of_second(*calm, seed=1), FINAL])
    turns = [turn for turn in all_turns(source(log, partitions, batch_size=4)) if turn.examples is not None]
    settled = [int(turn.examples.decided_ingest_ms[0]) for turn in turns if turn.examples is not None]
    assert len(settled) == len(busy) + len(calm)
    behind_ms = [max(settled[: n + 1]) - each for n, each in enumerate(settled)]
    assert max(behind_ms) <= 1000, "one mark's distance at most, however long the stream"


def test_partition_whose_clock_was_wrong_once_gets_its_turn_again(log: EventLog, new_topic: NewTopic) -> None:
    partitions = new_topic(2)
    ahead = np.full(4, 2**60, dtype=np.int64)
    append_all(log, partitions[0], [toy_batch(1, decided_ingest_ms=ahead), toy_batch(1, start=1), FINAL])
    append_all(log, partitions[1], [toy_batch(300, seed=1), FINAL])
    order = [batch[0].split("/")[0] for batch in names(all_turns(source(log, partitions, batch_size=4)))]
    assert order[0] == "i0-0"
    assert order.index("i0-1") == MOST_PASSED_OVER + 1


def test_turns_without_times_rotate(log: EventLog, new_topic: NewTopic) -> None:
    partitions, unknown = new_topic(3), np.zeros(12, dtype=np.int64)
    for number, partition in enumerate(partitions):
        append_all(log, partition, [toy_batch(3, seed=number, decided_ingest_ms=unknown), FINAL])
    order = [batch[0][:2] for batch in names(all_turns(source(log, partitions, batch_size=4)))]
    assert order == ["i0", "i1", "i2"] * 3


def test_cursor_of_before_there_were_times_is_gone_on_from(log: EventLog, new_topic: NewTopic) -> None:
    partitions = new_topic(2)
    for number, partition in enumerate(partitions):
        append_all(log, partition, [toy_batch(5, seed=number), FINAL])
    old = cursor_from_state({"positions": [[0, 10], [0, 0]], "turn": 1, "finished": [False, False]})
    rest = all_turns(source(log, partitions, cursor=old))
    assert sum(len(turn.examples) for turn in rest if turn.examples is not None) == 30


def test_turn_waits_for_its_partition_though_another_has_examples(log: EventLog, new_topic: NewTopic) -> None:
    partitions, stop = new_topic(2), threading.Event()
    append_all(log, partitions[1], [toy_batch(10, seed=1)])
    waiting, turns = source(log, partitions, stop=stop), []
    thread = threading.Thread(target=lambda: turns.append(waiting.next_turn()))
    thread.start()
    thread.join(0.5)
    assert thread.is_alive()
    append_all(log, partitions[0], [toy_batch(10, seed=0)])
    thread.join(30)
    assert names([turn for turn in turns if turn])[0][0].startswith("i0-0")


def test_stop_while_waiting_ends_the_turns_and_keeps_the_cursor(log: EventLog, new_topic: NewTopic) -> None:
    partitions, stop = new_topic(1), threading.Event()
    append_all(log, partitions[0], [toy_batch(1)])
    waiting, turns = source(log, partitions, stop=stop), []
    before = waiting.cursor
    thread = threading.Thread(target=lambda: turns.append(waiting.next_turn()))
    thread.start()
    stop.set()
    thread.join(30)
    assert turns == [None]
    assert waiting.cursor == before


def test_examples_of_another_kind_are_passed_over_and_counted(log: EventLog, new_topic: NewTopic) -> None:
    partitions = new_topic(1)
    other = toy_batch(3, start=9, kind="conversion")
    append_all(log, partitions[0], [toy_batch(2), other, toy_batch(1, start=5), FINAL])
    reader = source(log, partitions, batch_size=100)
    assert [len(batch) for batch in names(all_turns(reader))] == [12]
    assert reader.cursor.num_other_kind == 12


def test_undecodable_record_is_counted_reported_and_passed_over(log: EventLog, new_topic: NewTopic) -> None:
    partitions, seen = new_topic(1), []
    append_all(log, partitions[0], [toy_batch(1), b"damaged", toy_batch(1, start=5), FINAL])
    reader = source(log, partitions, on_undecodable=lambda record, reason: seen.append((record.value, reason)))
    assert [len(batch) for batch in names(all_turns(reader))] == [8]
    assert reader.cursor.num_undecodable == 1
    assert seen[0][0] == b"damaged"
    assert "header" in seen[0][1]


def test_until_end_cuts_a_short_batch_at_the_end_and_stops(log: EventLog, new_topic: NewTopic) -> None:
    partitions = new_topic(2)
    append_all(log, partitions[0], [toy_batch(4)])
    reader = source(log, partitions, until_end=True)
    assert [len(batch) for batch in names(all_turns(reader))] == [10, 6]
    append_all(log, partitions[1], [toy_batch(1, start=70), FINAL])
    later = source(log, partitions, until_end=True, cursor=reader.cursor)
    assert [len(batch) for batch in names(all_turns(later))] == [4]


def test_many_marks_without_examples_hand_on_the_new_position(log: EventLog, new_topic: NewTopic) -> None:
    partitions = new_topic(1)
    append_all(log, partitions[0], [Mark()] * 7 + [FINAL])
    turns = all_turns(source(log, partitions, max_passes=3))
    assert [turn.examples for turn in turns] == [None, None]
    assert [turn.cursor.positions[0][1] for turn in turns] == [0, 0]
    assert turns[0].cursor.positions < turns[1].cursor.positions


def test_final_mark_finishes_a_partition_for_good(log: EventLog, new_topic: NewTopic) -> None:
    partitions = new_topic(2)
    append_all(log, partitions[0], [FINAL])
    append_all(log, partitions[1], [toy_batch(1, seed=1), FINAL])
    reader = source(log, partitions)
    all_turns(reader)
    assert reader.cursor.finished == (True, True)
    assert source(log, partitions, cursor=reader.cursor).next_turn() is None


def test_cursor_of_another_number_of_partitions_raises_input_error(log: EventLog, new_topic: NewTopic) -> None:
    with pytest.raises(InputError, match="2 partitions"):
        source(log, new_topic(2), cursor=Cursor(positions=((0, 0),), finished=(False,)))


def test_batches_hold_the_same_columns_as_their_records(log: EventLog, new_topic: NewTopic) -> None:
    partitions = new_topic(1)
    batch = toy_batch(5)
    append_all(log, partitions[0], [*cut(batch, 3, 11), FINAL])
    turns = all_turns(source(log, partitions))
    again = concat_batches([turn.examples for turn in turns if turn.examples is not None])
    assert again.label.tolist() == batch.label.tolist()
    assert again.candidate["price"].tolist() == batch.candidate["price"].tolist()  # type: ignore[union-attr]

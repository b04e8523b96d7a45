"""A trainer that is killed at random moments ends as one that never was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from streams.contract.examples import Mark
from streams.log.event_log import EventLog, TopicPartition, open_log
from tests.support.killed_trainer import WHILE_WRITING, run
from tests.support.toy_examples import append_all, toy_batch

PARTITIONS = 2
RECORDS = 60
KILLS = 20
KILLS_WHILE_WRITING = 5


def fill(log: EventLog, partitions: Sequence[TopicPartition]) -> int:
    """Records of uneven length, with marks and damaged records between them; how many examples."""
    num_examples = 0
    for partition in partitions:
        batches = [toy_batch(40 + 3 * n, start=1000 * n, seed=partition.partition) for n in range(RECORDS)]
        marks = [Mark() if n % 7 == partition.partition else b"damaged" for n in range(RECORDS)]
        pairs = zip(batches, marks, strict=True)
        append_all(log, partition, [content for pair in pairs for content in pair] + [Mark(final=True)])
        num_examples += sum(map(len, batches))
    return num_examples


@pytest.mark.slow
def test_trainer_killed_twenty_times_ends_bit_identical_to_uninterrupted(
    log: EventLog, log_address: str, new_topic: Callable[[int], list[TopicPartition]], tmp_path: Path
) -> None:
    partitions = new_topic(PARTITIONS)
    topic, num_examples = partitions[0].topic, fill(log, partitions)
    whole = run(log_address, topic, tmp_path / "whole", kills=0)
    killed = run(log_address, topic, tmp_path / "killed", kills=KILLS)
    assert killed["killed"] == KILLS
    assert whole["state"]["counters"]["examples"] == num_examples
    assert killed["state"] == whole["state"]
    assert killed["digest"] == whole["digest"]


@pytest.mark.slow
def test_trainer_killed_while_checkpoints_are_written_resumes_the_ones_before_and_ends_bit_identical(
    tmp_path: Path,
) -> None:
    address = f"embedded:{tmp_path / 'log'}"
    log = open_log(address)
    log.create_topic("examples", PARTITIONS)
    fill(log, log.partitions("examples"))
    whole = run(address, "examples", tmp_path / "whole", kills=0)
    killed = run(address, "examples", tmp_path / "killed", kills=KILLS_WHILE_WRITING, when=WHILE_WRITING)
    assert killed["killed"] == KILLS_WHILE_WRITING
    assert killed["cut_short"] > 0
    assert killed["state"] == whole["state"]
    assert killed["digest"] == whole["digest"]

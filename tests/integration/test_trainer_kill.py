"""A trainer that is killed at random moments ends as one that never was, whatever state it has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streams.log.event_log import EventLog, TopicPartition, open_log
from tests.support.killed_cases import fill_far_apart, fill_with_corrections
from tests.support.killed_trainer import WHILE_WRITING, run

PARTITIONS = 2
RECORDS, KILLS = 60, 20
RECORDS_WITH_STATE, KILLS_WITH_STATE = 18, 6
KILLS_WHILE_WRITING = 5


@pytest.mark.slow
def test_trainer_killed_twenty_times_ends_bit_identical_to_uninterrupted(
    log: EventLog, log_address: str, new_topic: Callable[[int], list[TopicPartition]], tmp_path: Path
) -> None:
    partitions = new_topic(PARTITIONS)
    topic, num_examples = partitions[0].topic, fill_far_apart(log, partitions, RECORDS)
    whole = run(log_address, topic, tmp_path / "whole", kills=0)
    killed = run(log_address, topic, tmp_path / "killed", kills=KILLS)
    assert whole["state"]["counters"]["examples"] == num_examples
    check_same(whole, killed, KILLS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "parts"),
    [
        ("fgd-3-live", {"window", "online_counters"}),
        ("defer", {"delayed", "online_counters", "click_delays"}),
        ("calibrated", {"calibration", "online_counters"}),
    ],
)
def test_trainer_with_more_state_killed_six_times_ends_bit_identical_to_uninterrupted(
    case: str, parts: set[str], tmp_path: Path
) -> None:
    address = f"embedded:{tmp_path / 'log'}"
    log = open_log(address)
    log.create_topic("examples", PARTITIONS)
    num_examples = fill_with_corrections(log, log.partitions("examples"), RECORDS_WITH_STATE)
    log.close()
    whole = run(address, "examples", tmp_path / "whole", case=case, kills=0)
    killed = run(address, "examples", tmp_path / "killed", case=case, kills=KILLS_WITH_STATE)
    assert parts <= set(whole["digest"])
    assert whole["state"]["counters"]["examples"] == num_examples
    assert bool(whole["rounds"]) == ("window" in parts)
    check_same(whole, killed, KILLS_WITH_STATE)


def check_same(whole: dict[str, Any], killed: dict[str, Any], kills: int) -> None:
    """Counts, scores and positions, every tensor, and rounds on disk."""
    assert killed["killed"] == kills
    assert killed["state"] == whole["state"]
    assert killed["digest"] == whole["digest"]
    assert killed["rounds"] == whole["rounds"]


@pytest.mark.slow
def test_trainer_killed_while_checkpoints_are_written_resumes_the_ones_before_and_ends_bit_identical(
    tmp_path: Path,
) -> None:
    address = f"embedded:{tmp_path / 'log'}"
    log = open_log(address)
    log.create_topic("examples", PARTITIONS)
    fill_far_apart(log, log.partitions("examples"), RECORDS)
    log.close()
    whole = run(address, "examples", tmp_path / "whole", kills=0)
    killed = run(address, "examples", tmp_path / "killed", kills=KILLS_WHILE_WRITING, when=WHILE_WRITING)
    assert killed["cut_short"] > 0
    check_same(whole, killed, KILLS_WHILE_WRITING)

"""The joiner on a real log: crashes, lost state, ticks, several at once."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from streams.contract.encoding import decode_event
from streams.contract.errors import ConflictError, InputError, UnavailableError
from streams.contract.events import Tick
from streams.join.dead_letters import decode_dead_letter
from streams.join.joiner import Joiner, JoinerConfig
from streams.log.embedded_log import EmbeddedLog
from streams.log.event_log import EventLog
from tests.support.join_streams import (
    dead_letters_of,
    examples_of,
    join_to_the_end,
    random_events,
    read_values,
    remove_state,
    write_events,
)
from tests.support.joiner_process import joiner_config
from tests.support.joining import impression

NUM_KILLS = 12


@pytest.fixture
def prefix() -> str:
    """Before the names of this test's topics; on Kafka other tests' topics are there too."""
    return f"join-{uuid.uuid4().hex[:8]}"


@contextmanager
def _joiner_process(address: str, state_dir: Path, prefix: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "tests.support.joiner_process", address, str(state_dir), prefix])
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _kill_at_random_moments(log: EventLog, config: JoinerConfig, prefix: str, *, lose_state: bool) -> int:
    """Lets a joiner get through about a 14th of the stream, kills it, and so on. Returns the kills that hit."""
    assert config.state_dir is not None
    rng = random.Random(3)
    sources = log.partitions(prefix + "-events")
    total = sum(log.end_offsets(sources).values())
    hits = 0
    for kill in range(NUM_KILLS):
        with _joiner_process(log.address, config.state_dir, prefix) as process:
            while _num_joined(log, prefix) < (kill + 1) * total / (NUM_KILLS + 2):
                assert process.poll() is None
                threading.Event().wait(0.001)
            threading.Event().wait(rng.random() * 0.01)
            hits += process.poll() is None
        if lose_state and kill % 2:
            remove_state(config.state_dir)
    return hits


def _num_joined(log: EventLog, prefix: str) -> int:
    try:
        return sum(log.committed_offsets(prefix, log.partitions(f"{prefix}-events")).values())
    except UnavailableError:
        # Kafka does not say while the transaction of the one that was killed is open.
        return 0


@pytest.mark.slow
@pytest.mark.parametrize("lose_state", [False, True])
def test_joiner_killed_again_and_again_gives_the_output_of_an_uninterrupted_run(
    log: EventLog, tmp_path: Path, prefix: str, lose_state: bool
) -> None:
    events = random_events(3000, seed=1)
    for name in (f"calm-{prefix}", prefix):
        write_events(log, f"{name}-events", events)
    calm = joiner_config(tmp_path / "calm", f"calm-{prefix}")
    calm_stats = join_to_the_end(log, replace(calm, max_records=5000)).stats
    hard = joiner_config(tmp_path / "hard", prefix)
    hits = _kill_at_random_moments(log, hard, prefix, lose_state=lose_state)
    join_to_the_end(log, hard)
    assert hits >= 10
    assert calm_stats.corrections > 100
    assert calm_stats.duplicates > 100
    assert examples_of(log, hard) == examples_of(log, calm)
    assert _letters(log, hard) == _letters(log, calm)


def _letters(log: EventLog, config: JoinerConfig) -> list[list[object]]:
    """Dead letters without their topic's name and their offset, which Kafka's transaction markers move."""
    parts = [[decode_dead_letter(data) for data in part] for part in dead_letters_of(log, config)]
    return [[(letter.reason, letter.detail, letter.partition, letter.value) for letter in part] for part in parts]


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedLog]:
    """A log of one's own."""
    log = EmbeddedLog.open(tmp_path / "log")
    yield log
    log.close()


@pytest.fixture
def config(tmp_path: Path) -> JoinerConfig:
    """A joiner over `j-events`."""
    return joiner_config(tmp_path / "state", "j")


def test_second_joiner_takes_over_and_the_first_is_refused(
    embedded: EmbeddedLog, config: JoinerConfig, tmp_path: Path
) -> None:
    write_events(embedded, "j-events", random_events(300, seed=1))
    first = Joiner(embedded, config)
    first.run_once()
    second_log = EmbeddedLog.open(tmp_path / "log")
    second = join_to_the_end(second_log, replace(config, state_dir=tmp_path / "elsewhere"))
    with pytest.raises(ConflictError):
        first.run_once()
    first.close()
    assert second.stats.dead_letters["undecodable"] > 0
    reference = joiner_config(tmp_path / "reference", "j")
    reference = replace(reference, topics=replace(reference.topics, examples="r-examples", dead_letters="r", group="r"))
    join_to_the_end(embedded, reference)
    assert examples_of(embedded, config) == examples_of(embedded, reference)
    second_log.close()


def test_second_joiner_on_the_same_state_raises_conflict_error(embedded: EmbeddedLog, config: JoinerConfig) -> None:
    write_events(embedded, "j-events", [])
    first, second = Joiner(embedded, config), Joiner(embedded, config)
    first.run_once()
    with pytest.raises(ConflictError, match="another joiner holds this state"):
        second.run_once()
    first.close()


def test_partitions_shared_between_two_joiners_give_all_examples(
    embedded: EmbeddedLog, config: JoinerConfig, tmp_path: Path
) -> None:
    write_events(embedded, "j-events", random_events(200, seed=2))
    for partition in (0, 1):
        joiner = Joiner(embedded, replace(config, partitions=(partition,)))
        while joiner.run_once():
            pass
        assert list(joiner.stats_by_partition) == [partition]
        joiner.close()
    assert [part[-1] for part in examples_of(embedded, config)] == [{"mark": True, "final": True, "ingest_ms": 0}] * 2


def test_partition_that_is_not_there_raises_input_error(embedded: EmbeddedLog, config: JoinerConfig) -> None:
    write_events(embedded, "j-events", [])
    with pytest.raises(InputError, match="is no partition"):
        Joiner(embedded, replace(config, partitions=(2,)))


@pytest.mark.parametrize("clock", ["data", "wall"])
def test_partition_without_ticks_gets_them_from_the_joiner(
    embedded: EmbeddedLog, config: JoinerConfig, clock: Literal["data", "wall"]
) -> None:
    embedded.create_topic("j-events", 1)
    joiner = Joiner(embedded, replace(config, tick_seconds=0.0, clock=clock))
    for _ in range(3):
        joiner.run_once()
    ticks = [decode_event(value) for value in read_values(embedded, embedded.partitions("j-events")[0])]
    assert len(ticks) == 3
    assert all(isinstance(tick, Tick) and (tick.event_time_ms is None) == (clock == "data") for tick in ticks)
    assert joiner.stats.ticks == 3
    joiner.close()


def test_joiner_without_state_folder_rebuilds_at_every_start(embedded: EmbeddedLog, config: JoinerConfig) -> None:
    write_events(embedded, "j-events", random_events(100, seed=5))
    stateless = replace(config, state_dir=None)
    for _ in range(3):
        joiner = Joiner(embedded, stateless)
        joiner.run_once()
        joiner.close()
    join_to_the_end(embedded, stateless)
    other = replace(config, topics=replace(config.topics, examples="o-examples", dead_letters="o", group="o"))
    join_to_the_end(embedded, other)
    assert examples_of(embedded, stateless) == examples_of(embedded, other)


def test_run_goes_on_when_the_state_folder_is_back(
    embedded: EmbeddedLog, config: JoinerConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_events(embedded, "j-events", [impression("i", 0)])
    blocked = tmp_path / "state"
    blocked.write_text("a file where the folder is due")
    stop = threading.Event()
    joiner = Joiner(embedded, config)
    thread = threading.Thread(target=joiner.run, args=(stop,))
    thread.start()
    _wait_until(lambda: "trying again" in caplog.text)
    blocked.unlink()
    sources = embedded.partitions("j-events")
    _wait_until(lambda: embedded.committed_offsets("j", sources) == embedded.end_offsets(sources))
    stop.set()
    thread.join()
    joiner.close()
    assert joiner.stats.examples["click"] == 2


def test_state_folder_removed_between_runs_is_rebuilt(embedded: EmbeddedLog, config: JoinerConfig) -> None:
    write_events(embedded, "j-events", random_events(100, seed=5))
    joiner = Joiner(embedded, config)
    joiner.run_once()
    joiner.close()
    assert config.state_dir is not None
    shutil.rmtree(config.state_dir)
    join_to_the_end(embedded, config)
    other = replace(config, topics=replace(config.topics, examples="o-examples", dead_letters="o", group="o"))
    join_to_the_end(embedded, other)
    assert examples_of(embedded, config) == examples_of(embedded, other)


def _wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen within 30 s")

"""A disk that is really full: what was there stays whole, what comes is refused clearly, and room lets it go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from freshet.cli import main
from serving.gateway.spool import Spool, SpoolConfig, SpoolFullError
from serving.gateway.spool_segments import Spooled
from streams.checkpoints.files import Content
from streams.checkpoints.store import CheckpointStore
from streams.contract.errors import UnavailableError
from streams.log.event_log import Append, TopicPartition, open_log
from tests.support.small_disk import fill, small_disk

TOPIC = TopicPartition("events", 0)
_DISK_BYTES = 4 * 2**20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", _DISK_BYTES) as folder:
        yield folder


def records(count: int, size: int = 10_000) -> list[Append]:
    return [Append(TOPIC, bytes([number % 256]) * size) for number in range(count)]


def test_log_on_a_full_disk_refuses_the_batch_whole_and_takes_it_once_there_is_room(disk: Path) -> None:
    log = open_log(f"embedded:{disk / 'log'}")
    log.create_topic("events", 1)
    log.append(records(20))
    ballast = fill(disk, leave_bytes=64 * 1024)
    with pytest.raises(UnavailableError, match=r"log: .*log\.sqlite.*nothing was half-written"):
        log.append(records(50))
    assert log.end_offsets([TOPIC])[TOPIC] == 20
    log.close()
    ballast.unlink()
    again = open_log(f"embedded:{disk / 'log'}")
    assert [record.value[:1] for record in again.read({TOPIC: 0})] == [bytes([number]) for number in range(20)]
    again.append(records(50))
    assert again.end_offsets([TOPIC])[TOPIC] == 70
    again.close()


def test_replay_onto_a_full_disk_ends_with_one_clear_line_and_a_readable_log(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"embedded:{disk / 'log'}"
    assert main(["replay", "--data", "simulator:small", "--limit", "20000", "--log", address]) == 1
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("freshet: log: ")
    assert "log.sqlite" in told
    assert "nothing was half-written" in told
    log = open_log(address)
    for partition in log.partitions("events"):
        end = log.end_offsets([partition])[partition]
        assert len(log.read({partition: 0}, max_records=100_000)) == end
    log.close()


def checkpoint(step: int) -> Content:
    return Content(step, {"tables": {"ad": np.full((20_000, 8), step, dtype=np.float32)}}, {"step": step})


def test_checkpoint_on_a_full_disk_leaves_the_one_before_and_nothing_half_written(disk: Path) -> None:
    store = CheckpointStore(disk / "checkpoints")
    store.save(checkpoint(1))
    ballast = fill(disk, leave_bytes=300_000)
    with pytest.raises(
        UnavailableError, match=r"checkpoint of step 2 cannot be written.*No space left.*free some disk"
    ):
        store.save(checkpoint(2))
    assert {path.name for path in store.folder.iterdir()} == {"step-000000000001", ".lock"}
    loaded = store.load_newest()
    assert loaded.content is not None
    assert loaded.content.step == 1
    ballast.unlink()
    store.save(checkpoint(2))
    newest = store.load_newest()
    assert newest.content is not None
    np.testing.assert_array_equal(newest.content.tensors["tables"]["ad"], checkpoint(2).tensors["tables"]["ad"])
    store.close()


def spooled(start: int, stop: int) -> list[Spooled]:
    return [Spooled(b"session", str(number).encode().ljust(10_000, b".")) for number in range(start, stop)]


def test_spool_on_a_full_disk_refuses_the_batch_whole_and_gives_back_what_it_took(disk: Path) -> None:
    spool = Spool.open(disk / "spool", SpoolConfig(segment_bytes=100_000))
    spool.append(spooled(0, 15))
    ballast = fill(disk, leave_bytes=50_000)
    with pytest.raises(SpoolFullError, match=r"spool: the spool cannot grow: No space left.*more room"):
        spool.append(spooled(15, 25))
    assert (spool.num_events, spool.is_full) == (15, True)
    ballast.unlink()
    spool.append(spooled(15, 25))
    spool.close()
    again = Spool.open(disk / "spool")
    assert again.head(max_events=100, max_bytes=10**7)[0] == spooled(0, 1)[0]
    found = []
    while batch := again.head(max_events=100, max_bytes=10**7):
        found += batch
        again.advance(len(batch))
    assert found == spooled(0, 25)
    again.close()

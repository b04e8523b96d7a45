"""Events on disk: in order, bounded, and whole after a crash."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from serving.gateway.spool import Spool, SpoolConfig, SpoolFullError
from serving.gateway.spool_segments import Spooled, write_durably
from streams.contract.errors import InputError, UnavailableError


def events(start: int, stop: int, size: int = 10) -> list[Spooled]:
    """Numbered events of about `size` bytes."""
    return [Spooled(b"session", str(number).encode().ljust(size, b".")) for number in range(start, stop)]


def drain(spool: Spool, step: int = 3) -> list[Spooled]:
    """Everything, `step` events at a time."""
    found: list[Spooled] = []
    while batch := spool.head(max_events=step, max_bytes=1000):
        found += batch
        spool.advance(len(batch))
    return found


@contextmanager
def file_size_limit(num_bytes: int) -> Iterator[None]:
    """The kernel refuses to let any file grow beyond the limit, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_events_come_out_in_the_order_in_which_they_went_in(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, SpoolConfig(segment_bytes=100))
    spool.append(events(0, 5))
    spool.append(events(5, 25))
    assert spool.num_events == 25
    assert drain(spool) == events(0, 25)
    assert spool.is_empty
    assert list(tmp_path.glob("*.spool")) == []
    spool.close()


def test_spool_reopened_holds_what_was_appended(tmp_path: Path) -> None:
    first = Spool.open(tmp_path, SpoolConfig(segment_bytes=100))
    first.append(events(0, 20))
    first.append(events(20, 22))
    first.close()
    second = Spool.open(tmp_path)
    second.append(events(22, 30))
    assert second.num_events == 30
    assert drain(second) == events(0, 30)
    second.close()


def test_events_appended_while_others_are_read_come_after_them(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path)
    spool.append(events(0, 4))
    assert spool.head(max_events=2, max_bytes=1000) == events(0, 2)
    spool.append(events(4, 6))
    spool.advance(2)
    assert drain(spool) == events(2, 6)
    spool.close()


def test_torn_end_of_a_segment_is_left_out(tmp_path: Path) -> None:
    first = Spool.open(tmp_path)
    first.append(events(0, 3))
    first.close()
    (segment,) = tmp_path.glob("*.spool")
    segment.write_bytes(segment.read_bytes()[:-4])
    second = Spool.open(tmp_path)
    assert second.num_events == 2
    assert drain(second) == events(0, 2)
    second.close()


def test_damaged_frame_ends_its_segment_and_spares_the_next(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, SpoolConfig(segment_bytes=50))
    spool.append(events(0, 3))
    spool.append(events(3, 6))
    first = min(tmp_path.glob("*.spool"))
    data = bytearray(first.read_bytes())
    data[-1] ^= 1
    first.write_bytes(bytes(data))
    assert drain(spool) == events(0, 2) + events(3, 6)
    assert spool.is_empty
    spool.close()


def test_append_beyond_the_bound_raises_and_keeps_what_was_there(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, SpoolConfig(max_bytes=300, segment_bytes=100))
    spool.append(events(0, 5))
    with pytest.raises(SpoolFullError, match="as many bytes"):
        spool.append(events(5, 10))
    assert (spool.is_full, drain(spool)) == (True, events(0, 5))
    assert (spool.is_full, spool.is_empty) == (False, True)
    spool.close()


def test_spool_that_takes_events_is_not_told_to_be_full_while_it_writes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []

    def looked_at(file: int, data: bytes) -> None:
        told.append(spool.is_full)
        write_durably(file, data)

    monkeypatch.setattr("serving.gateway.spool.write_durably", looked_at)
    spool = Spool.open(tmp_path)
    spool.append(events(0, 5))
    assert told == [False, False], "of a new file's head, and of the events"
    spool.close()


def test_full_disk_raises_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, SpoolConfig(segment_bytes=100_000))
    spool.append(events(0, 5))
    with file_size_limit(1000), pytest.raises(SpoolFullError, match="disk"):
        spool.append(events(5, 100))
    spool.append(events(100, 103))
    assert drain(spool) == events(0, 5) + events(100, 103)
    spool.close()


def test_disk_full_from_the_start_leaves_no_file(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path)
    with file_size_limit(20), pytest.raises(SpoolFullError):
        spool.append(events(0, 5))
    assert spool.is_empty
    assert list(tmp_path.glob("*.spool")) == []
    spool.close()


def test_second_process_is_refused_the_folder(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path)
    code = f"from pathlib import Path; from serving.gateway.spool import Spool; Spool.open(Path({str(tmp_path)!r}))"
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert second.returncode != 0
    assert "another gateway uses this spool" in second.stderr
    spool.close()


def test_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is not a folder"):
        Spool.open(tmp_path / "file")
    with pytest.raises((InputError, UnavailableError)):
        Spool.open(tmp_path / "file" / "below")


@pytest.mark.parametrize("segment_bytes", [0, 2000])
def test_segment_size_that_cannot_be_is_refused(segment_bytes: int) -> None:
    with pytest.raises(InputError, match="segment_bytes"):
        SpoolConfig(max_bytes=1000, segment_bytes=segment_bytes)

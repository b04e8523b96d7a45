"""Sorting by time in bounded memory."""

from __future__ import annotations

import random
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.contract.errors import UnavailableError
from streams.datasets.ordering import TimedText, released_in_order, sorted_by_time


def shuffled_rows(number: int) -> list[TimedText]:
    rng = random.Random(3)
    return [TimedText(rng.randrange(number // 3), i, f"text\t{i} ä") for i in range(number)]


@pytest.mark.parametrize(("chunk_bytes", "max_runs"), [(1 << 30, 8), (10_000, 100), (10_000, 4), (1, 2)])
def test_rows_come_by_time_then_place_whatever_the_chunks(chunk_bytes: int, max_runs: int) -> None:
    rows = shuffled_rows(500)
    assert list(sorted_by_time(rows, chunk_bytes=chunk_bytes, max_runs=max_runs)) == sorted(rows)


def test_temporary_files_are_gone_even_where_reading_stops_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = sorted_by_time(shuffled_rows(500), chunk_bytes=10_000)
    next(rows)
    assert list(tmp_path.iterdir()) != []
    assert isinstance(rows, Iterator)
    rows.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_an_unavailable_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, hard))
    try:
        with pytest.raises(UnavailableError, match="TMPDIR"):
            list(sorted_by_time(shuffled_rows(5_000), chunk_bytes=100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_missing_temporary_folder_is_an_unavailable_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(UnavailableError, match="TMPDIR"):
        list(sorted_by_time(shuffled_rows(5)))


def test_rows_behind_the_bound_are_released_before_the_rest_is_read() -> None:
    taken: list[str] = []

    def rows() -> Iterator[tuple[int, int, str]]:
        for bound, time_ms, name in [(0, 9, "a"), (0, 2, "b"), (3, 4, "c"), (10, 10, "d")]:
            taken.append(name)
            yield bound, time_ms, name

    released = released_in_order(rows())
    assert next(released) == (2, "b")
    assert taken == ["a", "b", "c"]
    assert list(released) == [(4, "c"), (9, "a"), (10, "d")]


def test_rows_of_one_time_keep_their_order() -> None:
    rows = [(0, 5, "first"), (0, 5, "second"), (1, 5, "third")]
    assert [item for _, item in released_in_order(rows)] == ["first", "second", "third"]

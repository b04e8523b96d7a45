"""Bringing a log into the order of time in bounded memory.

    sorted_by_time     rows in any order               external merge sort over temporary files
    released_in_order  rows sorted by a lower bound    a heap of what is not yet due

The second needs less, and yields before the log is read to its end.
"""

from __future__ import annotations

import heapq
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from streams.contract.errors import UnavailableError

CHUNK_BYTES = 64 * 2**20
MAX_RUNS = 128
_ROW_OVERHEAD_BYTES = 150

Item = TypeVar("Item")


class TimedText(NamedTuple):
    """A line of text with its time and its place in the file, which breaks ties."""

    time_ms: int
    number: int
    text: str


def sorted_by_time(
    rows: Iterable[TimedText], *, chunk_bytes: int = CHUNK_BYTES, max_runs: int = MAX_RUNS
) -> Iterator[TimedText]:
    """The rows by time, then place; texts must not hold line ends. Memory: one chunk of `chunk_bytes` of text.

    Chunks are sorted in memory and written to temporary files, at most `max_runs` of them open at
    once, which are then merged. Raises UnavailableError where the temporary folder is full or away.
    """
    with _temporary_folder() as folder:
        runs: list[Path] = []
        chunk: list[TimedText] = []
        size = 0
        for row in rows:
            chunk.append(row)
            size += len(row.text) + _ROW_OVERHEAD_BYTES
            if size >= chunk_bytes:
                runs.append(_write_run(folder, len(runs), sorted(chunk)))
                chunk, size = [], 0
                if len(runs) == max_runs:
                    runs = [_merge_runs(folder, runs)]
        with ExitStack() as stack:
            yield from heapq.merge(sorted(chunk), *(_read_run(run, stack) for run in runs))


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    try:
        folder = Path(tempfile.mkdtemp(prefix="freshet-sort-"))
    except OSError as error:
        raise _no_room(error, tempfile.gettempdir()) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _no_room(error: OSError, folder: object) -> UnavailableError:
    return UnavailableError(
        f"cannot write a sorted part: {error.strerror}",
        field="TMPDIR",
        value=str(folder),
        remedy="free space there, or set TMPDIR to a roomier folder",
    )


def _merge_runs(folder: Path, runs: list[Path]) -> Path:
    with ExitStack() as stack:
        merged = _write_run(folder, len(runs), heapq.merge(*(_read_run(run, stack) for run in runs)))
    for run in runs:
        run.unlink()
    return merged.rename(folder / "merged")


def _write_run(folder: Path, number: int, rows: Iterable[TimedText]) -> Path:
    path = folder / f"run-{number}"
    try:
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{row.time_ms}\t{row.number}\t{row.text}\n" for row in rows)
    except OSError as error:
        raise _no_room(error, folder) from error
    return path


def _read_run(path: Path, stack: ExitStack) -> Iterator[TimedText]:
    file = stack.enter_context(path.open(encoding="utf-8", newline="\n"))
    for line in file:
        time_ms, number, text = line.removesuffix("\n").split("\t", 2)
        yield TimedText(int(time_ms), int(number), text)


def released_in_order(rows: Iterable[tuple[int, int, Item]]) -> Iterator[tuple[int, Item]]:
    """(time, item) by time, from rows (lower bound, time, item) that lie in the order of their lower bounds.

    No later row has a time below the present lower bound, so all before it is released.
    Memory: the rows whose time lies beyond the newest lower bound.
    """
    waiting: list[tuple[int, int, Item]] = []
    for arrival, (bound, time_ms, item) in enumerate(rows):
        while waiting and waiting[0][0] < bound:
            due_ms, _, due = heapq.heappop(waiting)
            yield due_ms, due
        heapq.heappush(waiting, (time_ms, arrival, item))
    while waiting:
        due_ms, _, due = heapq.heappop(waiting)
        yield due_ms, due

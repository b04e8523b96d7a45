"""Lines of plain or gzipped text files, one at a time, each knowing where it stands."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, TypeVar, cast

from streams.contract.errors import FormatError, InputError, NotFoundError
from streams.datasets.badlines import BadLines

MAX_LINE_BYTES = 16 * 2**20
"""A longer line is malformed: it would have to be held in memory whole."""

_REMEDY = "mend the line, or skip bad lines with --max-bad-lines"

Parsed = TypeVar("Parsed")


class Line(NamedTuple):
    """One line of `path` without its end; `number` counts from 1."""

    path: Path
    number: int
    text: str

    def error(self, field: str, message: str, value: object = None, remedy: str = _REMEDY) -> FormatError:
        """The error that names file, line, field, value and remedy."""
        return FormatError(f"{self.path}:{self.number}: {message}", field=field, value=value, remedy=remedy)


def require_file(path: Path) -> Path:
    """`path`, where it can be opened as a file. Raises NotFoundError or InputError otherwise."""
    if not path.exists():
        raise NotFoundError("there is no such file", field="data", value=str(path), remedy="check the path")
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise InputError(f"cannot be opened: {error.strerror}", field="data", value=str(path),
                         remedy="give a file that this user may read") from error  # fmt: skip


def find_file(directory: Path, *names: str) -> Path:
    """The first of `names`, plain or with .gz, that lies in `directory`. Raises NotFoundError naming them all."""
    if not directory.is_dir():
        raise NotFoundError("there is no such folder", field="data", value=str(directory), remedy="check the path")
    for name in names:
        for path in (directory / name, directory / f"{name}.gz"):
            if path.exists():
                return require_file(path)
    raise NotFoundError(f"holds no {' or '.join(names)}", field="data", value=str(directory), remedy="check the path")


def read_lines(path: Path, bad_lines: BadLines, *, encoding: str = "utf-8") -> Iterator[Line]:
    """The lines of the file, gzipped where its name ends in .gz; at most one is held in memory.

    A line that is too long or not in `encoding` is noted as bad. Raises FormatError where a
    gzipped file is damaged or cut off: how much is lost is then unknown.
    """
    require_file(path)
    with cast("IO[bytes]", gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")) as file:
        number = 0
        while raw := _read_line(file, path, number):
            number += 1
            place = Line(path, number, "")
            try:
                yield place._replace(text=_decode(raw, place, encoding))
            except FormatError as error:
                while not raw.endswith(b"\n") and (raw := _read_line(file, path, number)):
                    pass
                bad_lines.note(error)


def _read_line(file: IO[bytes], path: Path, number: int) -> bytes:
    try:
        return file.readline(MAX_LINE_BYTES)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FormatError(
            f"{path}:{number}: the file is damaged or cut off after this line: {error}",
            field="data",
            value=str(path),
            remedy="fetch the file again, or repack what is left of it",
        ) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error}", field="data", value=str(path),
                         remedy="give a file that this user may read") from error  # fmt: skip


def _decode(raw: bytes, place: Line, encoding: str) -> str:
    if len(raw) == MAX_LINE_BYTES:
        raise place.error("line", f"is longer than {MAX_LINE_BYTES} bytes", raw[:40])
    try:
        return raw.decode(encoding).rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise place.error("line", f"is not {encoding}", raw[max(0, error.start - 10) : error.start + 10]) from error


def parse_lines(lines: Iterable[Line], parse: Callable[[Line], Parsed], bad_lines: BadLines) -> Iterator[Parsed]:
    """What `parse` makes of each line; a line for which it raises FormatError is noted as bad and skipped."""
    for line in lines:
        try:
            parsed = parse(line)
        except FormatError as error:
            bad_lines.note(error)
            continue
        yield parsed


def split_fields(line: Line, separator: str, num_fields: int) -> list[str]:
    """The line's fields. Raises FormatError where there are more or fewer than `num_fields`."""
    fields = line.text.split(separator)
    if len(fields) != num_fields:
        raise line.error("line", f"has {len(fields)} fields where {num_fields} are due", line.text)
    return fields


def whole_number(line: Line, field: str, text: str) -> int:
    """The field as an integer. Raises FormatError."""
    try:
        return int(text)
    except ValueError as error:
        raise line.error(field, "is not a whole number", text) from error

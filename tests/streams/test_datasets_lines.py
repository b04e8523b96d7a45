"""Reading lines: where they stand, and what is said of those that cannot be read."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import pytest

from streams.contract.errors import FormatError, InputError, NotFoundError
from streams.datasets import lines as lines_module
from streams.datasets.badlines import BadLines
from streams.datasets.lines import Line, parse_lines, read_lines, split_fields, whole_number


def texts(path: Path, bad_lines: BadLines | None = None) -> list[tuple[int, str]]:
    return [(line.number, line.text) for line in read_lines(path, bad_lines or BadLines())]


def test_plain_and_gzipped_files_give_the_same_lines(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.tsv", tmp_path / "a.tsv.gz"
    plain.write_bytes("eins\r\nzwö\n\ndrei".encode())
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert texts(plain) == texts(packed) == [(1, "eins"), (2, "zwö"), (3, ""), (4, "drei")]


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as raised:
        texts(tmp_path / "none.tsv")
    assert raised.value.value == str(tmp_path / "none.tsv")
    assert raised.value.remedy


def test_folder_in_place_of_a_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        texts(tmp_path)


def test_truncated_gzip_gives_its_lines_then_names_the_file_and_the_last_line(tmp_path: Path) -> None:
    path = tmp_path / "cut.gz"
    content = "".join(f"line {i} {i * 7919 % 1000}\n" for i in range(20_000)).encode()
    path.write_bytes(gzip.compress(content)[:-2000])
    read: list[str] = []
    with pytest.raises(FormatError) as raised:
        read.extend(line.text for line in read_lines(path, BadLines(allowed=10)))
    assert read[:2] == ["line 0 0", "line 1 919"]
    assert str(path) in str(raised.value)
    assert f":{len(read)}:" in raised.value.message


def test_file_that_is_no_gzip_is_a_format_error(tmp_path: Path) -> None:
    path = tmp_path / "not.gz"
    path.write_text("plain text")
    with pytest.raises(FormatError, match="damaged or cut off"):
        texts(path)


def test_line_that_is_not_utf8_is_bad_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(b"good\n\xff\xfe\nafter\n")
    with pytest.raises(FormatError, match=r"a\.tsv:2: is not utf-8"):
        texts(path)
    bad_lines = BadLines(allowed=1)
    assert texts(path, bad_lines) == [(1, "good"), (3, "after")]
    assert bad_lines.count == 1


def test_line_that_is_too_long_is_bad_and_skipped_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "MAX_LINE_BYTES", 10)
    path = tmp_path / "a.tsv"
    path.write_bytes(b"short\n" + b"x" * 35 + b"\nafter\n")
    bad_lines = BadLines(allowed=1)
    assert texts(path, bad_lines) == [(1, "short"), (3, "after")]
    assert bad_lines.count == 1


def test_bad_lines_up_to_the_limit_are_reported_and_one_more_stops(caplog: pytest.LogCaptureFixture) -> None:
    lines = [Line(Path("log.txt"), i + 1, text) for i, text in enumerate(["1", "a", "2", "b", "3", "c", "4"])]
    bad_lines = BadLines(allowed=2)
    read: list[int] = []
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(FormatError, match=r"number: log\.txt:6: is not a whole number \(got 'c'\)\. mend the line"),
    ):
        read.extend(parse_lines(lines, lambda line: whole_number(line, "number", line.text), bad_lines))
    assert read == [1, 2, 3]
    assert bad_lines.count == 3
    assert ["log.txt:2" in caplog.messages[0], "log.txt:4" in caplog.messages[1]] == [True, True]


def test_wrong_number_of_fields_says_how_many_are_due() -> None:
    with pytest.raises(FormatError, match="has 2 fields where 3 are due"):
        split_fields(Line(Path("log.txt"), 1, "a,b"), ",", 3)

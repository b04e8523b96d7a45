"""What cannot be written is told before the work, and trying leaves nothing behind."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from streams.contract.errors import InputError
from streams.outputs import check_file, check_files, check_folder


def test_trying_makes_the_folder_and_leaves_it_empty(tmp_path: Path) -> None:
    check_file(tmp_path / "new" / "file", field="out")
    check_folder(tmp_path / "another" / "one", field="out")
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["another", "one", "new"]


def test_what_stands_there_already_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("kept")
    check_file(path, field="out")
    assert path.read_text() == "kept"


@pytest.mark.parametrize("wrong", ["", "file/below", "file/below/it", "/proc/nosuch/file"])
def test_a_place_where_no_file_can_be_is_refused_by_the_options_name(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError) as refused:
        check_files(Namespace(ready=None, summary=tmp_path / wrong), "ready", "summary")
    assert refused.value.field == "summary"
    assert refused.value.remedy


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match="out: cannot be written into"):
        check_folder(tmp_path / "file", field="out")

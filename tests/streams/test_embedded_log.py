"""What only the embedded log can meet: wrong folders, full disks, damaged files."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from streams.contract.errors import ConflictError, InputError, UnavailableError
from streams.log.embedded_log import EmbeddedLog
from streams.log.embedded_store import FILE_NAME, FORMAT_VERSION, EmbeddedSettings
from streams.log.event_log import Append, TopicPartition
from tests.support.log_processes import read_all

PARTITION = TopicPartition("topic", 0)


def open_with_topic(folder: Path, settings: EmbeddedSettings | None = None) -> EmbeddedLog:
    log = EmbeddedLog.open(folder, settings)
    log.create_topic("topic", 1)
    return log


def write_too_much(log: EmbeddedLog) -> None:
    with log.transaction("writer") as transaction:
        transaction.append([Append(PARTITION, b"x" * 100_000) for _ in range(20)])
        transaction.commit_offsets("group", {PARTITION: 5})


def test_open_makes_missing_folders(tmp_path: Path) -> None:
    log = open_with_topic(tmp_path / "a" / "b")
    log.append([Append(PARTITION, b"x")])
    log.close()
    assert (tmp_path / "a" / "b" / FILE_NAME).is_file()


def test_open_of_a_folder_with_something_else_raises_input_error_and_leaves_it(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"thesis\.txt"):
        EmbeddedLog.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_open_of_a_file_raises_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="folder"):
            EmbeddedLog.open(path)


def test_open_of_a_file_that_is_no_database_raises_input_error_and_leaves_it(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database" * 1000)
    with pytest.raises(InputError, match="is not an event log"):
        EmbeddedLog.open(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == b"not a database" * 1000


def test_open_of_another_programs_database_raises_input_error(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(InputError, match="is not an event log"):
        EmbeddedLog.open(tmp_path)


def test_open_of_a_newer_format_raises_input_error_naming_both_versions(tmp_path: Path) -> None:
    EmbeddedLog.open(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION + 1}")
    with pytest.raises(InputError, match=rf"version {FORMAT_VERSION + 1}.*up to {FORMAT_VERSION}"):
        EmbeddedLog.open(tmp_path)


def test_read_of_a_damaged_file_raises_input_error_naming_it(tmp_path: Path) -> None:
    log = open_with_topic(tmp_path)
    log.append([Append(PARTITION, os.urandom(3000)) for _ in range(200)])
    log.close()
    size = (tmp_path / FILE_NAME).stat().st_size
    with (tmp_path / FILE_NAME).open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (size - 8192))
    with pytest.raises(InputError, match=FILE_NAME):
        read_all(EmbeddedLog.open(tmp_path), [PARTITION])


def test_full_log_raises_unavailable_naming_it_and_half_writes_nothing(tmp_path: Path) -> None:
    log = open_with_topic(tmp_path, EmbeddedSettings(max_bytes=1_000_000))
    log.append([Append(PARTITION, b"kept")])
    with pytest.raises(UnavailableError, match=FILE_NAME) as raised:
        log.append([Append(PARTITION, b"x" * 100_000) for _ in range(20)])
    assert "trim" in str(raised.value)
    with pytest.raises(UnavailableError):
        write_too_much(log)
    assert read_all(log, [PARTITION]) == [b"kept"]
    assert log.committed_offsets("group", [PARTITION]) == {}


def test_full_log_takes_records_again_once_trimmed(tmp_path: Path) -> None:
    log = open_with_topic(tmp_path, EmbeddedSettings(max_bytes=1_000_000))
    log.append([Append(PARTITION, b"x" * 100_000) for _ in range(6)])
    with pytest.raises(UnavailableError):
        log.append([Append(PARTITION, b"y" * 100_000) for _ in range(6)])
    log.trim(log.end_offsets([PARTITION]))
    log.append([Append(PARTITION, b"y" * 100_000) for _ in range(6)])
    assert [record.offset for record in log.read({PARTITION: 6})] == [6, 7, 8, 9, 10, 11]


def test_sync_full_setting_reaches_every_connection(tmp_path: Path) -> None:
    log = open_with_topic(tmp_path, EmbeddedSettings(sync_full=True))
    with log._connected() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_write_lock_held_for_long_raises_unavailable(tmp_path: Path) -> None:
    log = open_with_topic(tmp_path, EmbeddedSettings(lock_timeout_seconds=0.05))
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="another process"):
            log.append([Append(PARTITION, b"x")])
    log.append([Append(PARTITION, b"x")])
    assert read_all(log, [PARTITION]) == [b"x"]


def test_folder_opened_by_many_at_once_is_made_once(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def open_it() -> None:
        try:
            open_with_topic(tmp_path / "log").append([Append(PARTITION, b"x")])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert read_all(EmbeddedLog.open(tmp_path / "log"), [PARTITION]) == [b"x"] * 8


def test_closed_log_raises_conflict(tmp_path: Path) -> None:
    log = open_with_topic(tmp_path)
    log.close()
    with pytest.raises(ConflictError, match="closed"):
        log.read({PARTITION: 0})

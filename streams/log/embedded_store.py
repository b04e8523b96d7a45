"""The SQLite file behind the embedded log: its tables, how it is opened, and what its errors mean.

A record's key is `partition_id << 40 | offset`, so that a partition's records lie side by side
and a read is one range scan; a partition holds up to 2**40 records.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from streams.contract.errors import InputError, UnavailableError

FILE_NAME = "log.sqlite"
FORMAT_VERSION = 1
OFFSET_BITS = 40

_APPLICATION_ID = 0x46524C47  # "FRLG": tells our files from other programs' SQLite files
_LOCK_NAME = "log.lock"
_PAGE_BYTES = 8192
_WAL_PAGES = 2048
_SCHEMA = """
CREATE TABLE partitions (
    id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    begin_offset INTEGER NOT NULL DEFAULT 0,
    next_offset INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic, partition)
);
CREATE TABLE records (id INTEGER PRIMARY KEY, key BLOB, value BLOB NOT NULL, timestamp_ms INTEGER NOT NULL);
CREATE TABLE group_offsets (
    group_name TEXT NOT NULL,
    partition_id INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (group_name, partition_id)
) WITHOUT ROWID;
CREATE TABLE epochs (transactional_id TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, kw_only=True)
class EmbeddedSettings:
    """`sync_full` survives a power cut (one fsync a commit), not only a killed process.

    `max_bytes` bounds the file (None: the disk does); `lock_timeout_seconds` is the longest wait
    for another process's commit.
    """

    sync_full: bool = False
    max_bytes: int | None = None
    lock_timeout_seconds: float = 30.0


@dataclass(frozen=True)
class Store:
    """One log file and how to connect to it."""

    folder: Path
    settings: EmbeddedSettings

    @property
    def path(self) -> Path:
        return self.folder / FILE_NAME

    def connect(self) -> sqlite3.Connection:
        """A connection of its own for each thread; `close` may come from another one."""
        settings = self.settings
        connection = sqlite3.connect(
            self.path, timeout=settings.lock_timeout_seconds, isolation_level=None, check_same_thread=False
        )
        connection.execute(f"PRAGMA synchronous = {'FULL' if settings.sync_full else 'NORMAL'}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        if settings.max_bytes is not None:
            connection.execute(f"PRAGMA max_page_count = {max(1, settings.max_bytes // _PAGE_BYTES)}")
        return connection

    def prepare(self) -> None:
        """Makes folder and file where they are missing.

        Raises InputError where the folder holds something else, no log, or a newer format;
        UnavailableError where it cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._refuse_other_contents()
            with (self.folder / _LOCK_NAME).open("w") as lock, translated(self.path):
                fcntl.flock(lock, fcntl.LOCK_EX)
                with closing(self.connect()) as connection:
                    _create(connection)
                    self._check(connection)
        except (FileExistsError, NotADirectoryError) as error:
            raise InputError("is not a folder", field="log", value=str(self.folder),
                             remedy="name a folder, or what does not exist yet") from error  # fmt: skip
        except OSError as error:
            raise UnavailableError(
                f"cannot open the event log: {error.strerror}",
                field="log",
                value=str(self.folder),
                remedy="check the folder's permissions and the free disk space",
            ) from error

    def _refuse_other_contents(self) -> None:
        names = {path.name for path in self.folder.iterdir()}
        if names and not names & {FILE_NAME, _LOCK_NAME}:
            raise InputError(
                f"holds something else than an event log, such as {min(names)!r}",
                field="log",
                value=str(self.folder),
                remedy="name an empty folder or one that does not exist",
            )

    def _check(self, connection: sqlite3.Connection) -> None:
        application, version = (_pragma(connection, name) for name in ("application_id", "user_version"))
        if application != _APPLICATION_ID:
            raise _not_ours(self.path)
        if version > FORMAT_VERSION:
            raise InputError(
                f"has format version {version}, this program reads up to {FORMAT_VERSION}",
                field="log",
                value=str(self.path),
                remedy="use the newer program, or another folder",
            )


def _create(connection: sqlite3.Connection) -> None:
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        return
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode = WAL")
    marks = f"PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {FORMAT_VERSION};"
    connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} {marks} COMMIT;")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _not_ours(path: Path) -> InputError:
    return InputError("is not an event log", field="log", value=str(path), remedy="name an empty folder")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours, naming the file: InputError for a wrong file, UnavailableError for disk and locks."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_NOTADB:
            raise _not_ours(path) from error
        if code == sqlite3.SQLITE_CORRUPT:
            raise InputError(
                f"is damaged: {error}", field="log", value=str(path), remedy="restore it, or name another folder"
            ) from error
        if code not in _REMEDIES:
            raise
        raise UnavailableError(str(error), field="log", value=str(path), remedy=_REMEDIES[code]) from error


_REMEDIES = {
    sqlite3.SQLITE_FULL: "free disk space or trim the log; nothing was half-written",
    sqlite3.SQLITE_IOERR: "check the disk and its free space; nothing was half-written",
    sqlite3.SQLITE_CANTOPEN: "check that the folder still exists and may be written",
    sqlite3.SQLITE_READONLY: "make the folder and its files writable",
    sqlite3.SQLITE_PERM: "make the folder and its files writable",
    sqlite3.SQLITE_BUSY: "another process holds the log for long; try again",
    sqlite3.SQLITE_LOCKED: "another process holds the log for long; try again",
}


@contextmanager
def atomic(connection: sqlite3.Connection, mode: str = "IMMEDIATE") -> Iterator[None]:
    """One SQLite transaction: committed at the end, rolled back by any exception. `mode` DEFERRED to only read."""
    connection.execute(f"BEGIN {mode}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise

"""The join's state of one partition on local disk: one SQLite file, one transaction a step.

    impressions   remembered until their horizon passes       number = offset of the event in the log
    given         feedback that a candidate got already       one row a (impression, kind, candidate)
    seen          ids of events, to recognise duplicates       "I…" impressions, "F…" feedback, "T…" ticks
    held          feedback that waits for its impression
    meta          the place in the log that all this belongs to

The file is derived from the log: where it is missing, damaged or of another format, it is made
anew by reading the log again.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from streams.contract.errors import ConflictError, UnavailableError

FORMAT = 1
NOTHING_SEEN_MS = -(2**62)
"""The watermark before the first event time."""

_CHECK_UP_TO_BYTES = 256 << 20
_IDS_A_QUERY = 500
_PRAGMAS = (
    "locking_mode = EXCLUSIVE",
    "journal_mode = WAL",
    "synchronous = NORMAL",
    "cache_size = -65536",
    "wal_autocheckpoint = 8000",
    "journal_size_limit = 67108864",
)
_SCHEMA = """
CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), value BLOB NOT NULL);
CREATE TABLE impressions (
    number INTEGER PRIMARY KEY, event_time_ms INTEGER NOT NULL, forget_ms INTEGER NOT NULL, record BLOB NOT NULL);
CREATE INDEX impressions_forget ON impressions (forget_ms);
CREATE TABLE given (
    number INTEGER, kind TEXT, row INTEGER, value REAL, delay_ms INTEGER, PRIMARY KEY (number, kind, row)
) WITHOUT ROWID;
CREATE TABLE seen (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, until_ms INTEGER NOT NULL);
CREATE TABLE held (number INTEGER PRIMARY KEY, until_ms INTEGER NOT NULL, key BLOB, record BLOB NOT NULL);
"""

logger = logging.getLogger(__name__)


class Position(msgspec.Struct, kw_only=True, frozen=True):
    """The place in the log that a state belongs to, and what shaped it."""

    next_offset: int
    windows: str
    """The windows it was joined with, as text: another text is another join."""
    watermark_ms: int = NOTHING_SEEN_MS
    final_number: int = -1
    """Offset of the newest final tick: windows of impressions before it are closed."""
    last_offset: int = -1
    last_digest: int = 0
    """Of the newest event applied: tells another log behind the same address."""


@dataclass(slots=True)
class Changes:
    """What one step adds and takes away; columns as in the tables."""

    impressions: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    given: list[tuple[int, str, int, float, int]] = field(default_factory=list)
    seen: list[tuple[int, str, int]] = field(default_factory=list)
    held: list[tuple[int, int, bytes | None, bytes]] = field(default_factory=list)
    unheld: list[tuple[int]] = field(default_factory=list)


class DamagedStateError(UnavailableError):
    """The file cannot be read; it is made anew when the partition is opened again."""

    code = "damaged_state"


class JoinStore:
    """The tables. One process at a time; not for several threads."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self._db = connection
        self._path = path
        self._is_damaged = False

    @classmethod
    def open(cls, path: Path | None) -> JoinStore:
        """The state at `path`, or in memory (None); made anew, with a warning, where it cannot be used.

        Raises ConflictError where another process holds it, UnavailableError where the disk does not serve.
        """
        if path is None:
            return cls._create(":memory:")
        _make_folder(path.parent)
        try:
            return cls._existing(path) if path.exists() else cls._create(str(path))
        except DamagedStateError as error:
            logger.warning("%s: %s; it is rebuilt from the log", path, error.message)
            _delete(path)
            return cls._create(str(path))

    @classmethod
    def _create(cls, path: str) -> JoinStore:
        store = cls(_connect(path), path)
        with store._errors(), store._db:
            store._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
        return store

    @classmethod
    def _existing(cls, path: Path) -> JoinStore:
        store = cls(_connect(str(path)), str(path))
        try:
            store._check(path)
        except DamagedStateError:
            store.close()
            raise
        return store

    def _check(self, path: Path) -> None:
        with self._errors():
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found != FORMAT:
                raise DamagedStateError(f"holds format {found} where {FORMAT} is due")
            if path.stat().st_size <= _CHECK_UP_TO_BYTES:
                verdict = self._db.execute("PRAGMA quick_check").fetchone()[0]
                if verdict != "ok":
                    raise DamagedStateError(f"is damaged: {verdict}")
            self.position()

    def position(self) -> Position | None:
        """Where in the log the state stands; None for a new one."""
        with self._errors():
            row = self._db.execute("SELECT value FROM meta").fetchone()
        try:
            return None if row is None else msgspec.msgpack.decode(row[0], type=Position)
        except msgspec.MsgspecError as error:
            raise DamagedStateError(f"is damaged: {error}") from error

    def seen(self, keys: list[str]) -> dict[str, tuple[int, int]]:
        """id -> (number, until_ms) of those of the ids that are there."""
        found: dict[str, tuple[int, int]] = {}
        with self._errors():
            for start in range(0, len(keys), _IDS_A_QUERY):
                some = keys[start : start + _IDS_A_QUERY]
                query = f"SELECT id, number, until_ms FROM seen WHERE id IN ({', '.join('?' * len(some))})"
                found |= {id: (number, until_ms) for id, number, until_ms in self._db.execute(query, some)}
        return found

    def impression(self, number: int) -> tuple[int, bytes] | None:
        """(forget_ms, event as it was logged)."""
        with self._errors():
            row: tuple[int, bytes] | None = self._db.execute(
                "SELECT forget_ms, record FROM impressions WHERE number = ?", (number,)
            ).fetchone()
        return row

    def given(self, number: int) -> list[tuple[str, int, float, int]]:
        """(kind, row, value, delay_ms) of every feedback the impression got."""
        with self._errors():
            return self._db.execute(
                "SELECT kind, row, value, delay_ms FROM given WHERE number = ?", (number,)
            ).fetchall()

    def impressions_since(self, number: int, event_time_ms: int) -> Iterator[tuple[int, int]]:
        """(number, event_time_ms) of impressions behind that number and later than that time."""
        with self._errors():
            yield from self._db.execute(
                "SELECT number, event_time_ms FROM impressions WHERE number > ? AND event_time_ms > ?",
                (number, event_time_ms),
            )

    def held(self) -> list[tuple[int, int, bytes | None, bytes]]:
        """(number, until_ms, key, event as it was logged), oldest first."""
        with self._errors():
            return self._db.execute("SELECT number, until_ms, key, record FROM held ORDER BY number").fetchall()

    def commit(self, changes: Changes, position: Position) -> None:
        """Writes the changes, forgets what the watermark has passed, and moves to `position`, all or nothing."""
        with self._errors(), self._db:
            run = self._db.executemany
            run("INSERT OR REPLACE INTO impressions VALUES (?, ?, ?, ?)", changes.impressions)
            run("INSERT OR REPLACE INTO given VALUES (?, ?, ?, ?, ?)", changes.given)
            run("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", changes.seen)
            run("INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?)", changes.held)
            run("DELETE FROM held WHERE number = ?", changes.unheld)
            self._forget(position.watermark_ms)
            run("INSERT OR REPLACE INTO meta VALUES (1, ?)", [(msgspec.msgpack.encode(position),)])

    def _forget(self, watermark_ms: int) -> None:
        self._db.execute(
            "DELETE FROM given WHERE number IN (SELECT number FROM impressions WHERE forget_ms <= ?)", (watermark_ms,)
        )
        self._db.execute("DELETE FROM impressions WHERE forget_ms <= ?", (watermark_ms,))
        # `until_ms` rises with the number, as both follow the watermark: only the oldest rows need a look.
        first = self._db.execute(
            "SELECT number FROM seen WHERE until_ms > ? ORDER BY number LIMIT 1", (watermark_ms,)
        ).fetchone()
        self._db.execute("DELETE FROM seen WHERE number < ?", first or (2**62,))

    def close(self) -> None:
        """Frees the file; deletes it where it was found damaged, so that it is made anew."""
        self._db.close()
        if self._is_damaged:
            logger.warning("%s is damaged; it is rebuilt from the log", self._path)
            _delete(Path(self._path))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise _refusal(error, self._path) from error
        except sqlite3.DatabaseError as error:
            self._is_damaged = True
            raise DamagedStateError(f"is damaged: {error}", field="state_dir", value=self._path) from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnavailableError(f"cannot be made: {error.strerror}", field="state_dir", value=str(folder),
                               remedy="name a folder that can be written")  from error  # fmt: skip


def _delete(path: Path) -> None:
    for file in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        file.unlink(missing_ok=True)


def _connect(path: str) -> sqlite3.Connection:
    """Opens the file for this process alone; a crash of the machine may lose the last steps, never break the file."""
    try:
        db = sqlite3.connect(path, isolation_level="IMMEDIATE", check_same_thread=False, timeout=1.0)
        try:
            for pragma in _PRAGMAS:
                db.execute(f"PRAGMA {pragma}").fetchall()
            db.execute("BEGIN IMMEDIATE")
            db.rollback()
        except BaseException:
            db.close()
            raise
    except sqlite3.OperationalError as error:
        raise _refusal(error, path) from error
    except sqlite3.DatabaseError as error:
        raise DamagedStateError(f"is damaged: {error}", field="state_dir", value=path) from error
    return db


def _refusal(error: sqlite3.OperationalError, path: str) -> ConflictError | UnavailableError:
    if "locked" in str(error):
        return ConflictError("another joiner holds this state", field="state_dir", value=path,
                             remedy="stop it, or give this one other partitions or another folder")  # fmt: skip
    return UnavailableError(f"the state cannot be written: {error}", field="state_dir", value=path,
                            remedy="free space on the disk and check its permissions")  # fmt: skip

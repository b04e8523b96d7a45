"""Events on local disk, waiting for the event log: append-only segment files, bounded, read in order.

Every `append` ends with an fsync: when it returns, its events outlive the process and the machine's
power. A segment is deleted when it has been read whole; after a crash reading starts again at the
oldest segment, so up to one segment of events is delivered twice (the join knows them by event id).
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from serving.gateway.spool_segments import (
    MAGIC,
    PATTERN,
    Segment,
    Spooled,
    encode_frame,
    read_frames,
    scan,
    sync_folder,
    write_durably,
)
from streams.contract.errors import InputError, UnavailableError

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class SpoolConfig:
    """How much may wait on disk."""

    max_bytes: int = 1024**3
    segment_bytes: int = 1024**2

    def __post_init__(self) -> None:
        if not 0 < self.segment_bytes <= self.max_bytes:
            raise InputError("must be positive and at most max_bytes", field="spool.segment_bytes",
                             value=(self.segment_bytes, self.max_bytes))  # fmt: skip


class SpoolFullError(UnavailableError):
    """The spool holds as much as it may, or the disk took no more."""

    code = "spool_full"


class Spool:
    """A queue on disk. One thread may append while another reads. One process a folder."""

    def __init__(self, folder: Path, config: SpoolConfig, lock: int, segments: Sequence[Segment]) -> None:
        self.is_full = False
        """Whether it refused the newest append, and nothing has left it since."""
        self._folder = folder
        self._config = config
        self._lock_file = lock
        self._mutex = threading.Lock()
        self._segments: deque[Segment] = deque(segments)
        self._read_at = len(MAGIC)
        self._read_events = 0
        self._read_ends: deque[int] = deque()
        self._writing: int | None = None
        self._next_number = 1 + max((int(s.path.stem) for s in segments), default=-1)

    @classmethod
    def open(cls, folder: Path, config: SpoolConfig | None = None) -> Spool:
        """The spool in `folder`, made where it is missing. Raises InputError where another process has it open or
        it is no folder, UnavailableError where the disk refuses."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        except (FileExistsError, NotADirectoryError) as error:
            raise InputError("is not a folder", field="spool", value=str(folder), remedy="name another") from error
        except OSError as error:
            raise UnavailableError(f"cannot be used: {error.strerror}", field="spool", value=str(folder)) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise InputError("another gateway uses this spool", field="spool", value=str(folder),
                             remedy="give every gateway a folder of its own") from error  # fmt: skip
        segments = [scan(path) for path in sorted(folder.glob(PATTERN))]
        return cls(folder, config or SpoolConfig(), lock, [s for s in segments if s.num_events])

    @property
    def num_events(self) -> int:
        """Events waiting."""
        return sum(s.num_events for s in tuple(self._segments)) - self._read_events

    @property
    def num_bytes(self) -> int:
        """Bytes on disk."""
        return sum(s.num_bytes for s in tuple(self._segments))

    @property
    def is_empty(self) -> bool:
        return not self._segments

    def append(self, events: Sequence[Spooled]) -> None:
        """Adds the events, all or none, and makes them durable. Raises SpoolFullError."""
        frames = b"".join(encode_frame(event) for event in events)
        with self._mutex:
            if self.num_bytes + len(frames) + len(MAGIC) > self._config.max_bytes:
                raise self._full("holds as many bytes as it may")
            try:
                self._write(frames, len(events))
            except OSError as error:
                self._abandon_segment()
                raise self._full(f"cannot grow: {error.strerror}") from error
            self.is_full = False

    def head(self, *, max_events: int, max_bytes: int) -> list[Spooled]:
        """The oldest events, at least one where there are any; they stay until `advance`."""
        with self._mutex:
            while self._segments:
                found = self._read(max_events, max_bytes)
                if found:
                    return found
                _LOGGER.error("spool segment %s is damaged; what it held behind byte %d is lost",
                              self._segments[0].path, self._read_at)  # fmt: skip
                self._drop_segment()
        return []

    def advance(self, num_events: int) -> None:
        """Forgets the oldest `num_events`, which must have been read or just appended."""
        while num_events > 0:
            if len(self._read_ends) < num_events:
                self.head(max_events=num_events, max_bytes=self._config.max_bytes)
            assert self._read_ends
            with self._mutex:
                taken = min(num_events, len(self._read_ends))
                for _ in range(taken):
                    self._read_at = self._read_ends.popleft()
                self._read_events += taken
                num_events -= taken
                if self._read_events == self._segments[0].num_events:
                    self._drop_segment()

    def close(self) -> None:
        """What waits stays on disk."""
        with self._mutex:
            self._close_segment()
        os.close(self._lock_file)

    def _write(self, frames: bytes, num_events: int) -> None:
        if self._writing is None or self._segments[-1].num_bytes >= self._config.segment_bytes:
            self._new_segment()
        assert self._writing is not None
        write_durably(self._writing, frames)
        self._segments[-1].num_bytes += len(frames)
        self._segments[-1].num_events += num_events

    def _new_segment(self) -> None:
        self._close_segment()
        path = self._folder / f"{self._next_number:012d}.spool"
        self._next_number += 1
        self._writing = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        self._segments.append(Segment(path, len(MAGIC), 0))
        write_durably(self._writing, MAGIC)
        sync_folder(self._folder)

    def _close_segment(self) -> None:
        if self._writing is not None:
            os.close(self._writing)
            self._writing = None

    def _abandon_segment(self) -> None:
        """After a failed write: what was written in part is cut off; the next append begins a new file."""
        if self._writing is None:
            return
        segment = self._segments[-1]
        with suppress(OSError):
            os.ftruncate(self._writing, segment.num_bytes)
        self._close_segment()
        if not segment.num_events:
            self._segments.pop()
            segment.path.unlink()

    def _read(self, max_events: int, max_bytes: int) -> list[Spooled]:
        self._read_ends.clear()
        found: list[Spooled] = []
        total = 0
        for event, end in read_frames(self._segments[0].path, self._read_at):
            found.append(event)
            self._read_ends.append(end)
            total += len(event.value)
            if len(found) >= max_events or total >= max_bytes:
                break
        return found

    def _drop_segment(self) -> None:
        if len(self._segments) == 1:
            self._close_segment()
        # First, for who sees an empty spool must not hear that it is full.
        self.is_full = False
        self._segments.popleft().path.unlink()
        self._read_at, self._read_events = len(MAGIC), 0

    def _full(self, why: str) -> SpoolFullError:
        self.is_full = True
        return SpoolFullError(f"the spool {why}", field="spool", value=str(self._folder),
                              remedy="bring the event log back, or give the spool more room")  # fmt: skip

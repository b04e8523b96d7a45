"""Checkpoints in one folder: each is written whole or not at all; the newest valid one is resumed."""

from __future__ import annotations

import fcntl
import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from streams.checkpoints.files import Content, read_files, sync, write_files
from streams.contract.errors import ConflictError, FormatError, InputError, UnavailableError

_LOGGER = logging.getLogger(__name__)

_PREFIX = "step-"
_UNFINISHED = ".unfinished-"
_REPLACED = ".replaced-"
_LOCK = ".lock"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointConfig:
    """When a checkpoint is made, and how many are kept. 0 steps or seconds: not for that reason."""

    every_steps: int = 0
    every_seconds: float = 30.0
    keep: int = 3

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise InputError("must be at least 1", field="keep", value=self.keep, remedy="leave it out for 3")
        for unit, every in (("steps", self.every_steps), ("seconds", self.every_seconds)):
            if not every >= 0:
                raise InputError("must not be negative", field=f"checkpoint_{unit}", value=every,
                                 remedy="give 0 to make none for that reason")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refused:
    """A checkpoint that was not taken, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """The newest valid checkpoint (None where there is none), and the newer ones that were refused."""

    content: Content | None
    refused: list[Refused] = field(default_factory=list)


class CheckpointStore:
    """The checkpoints of one trainer. One process at a time may hold the folder."""

    def __init__(self, folder: Path, *, keep: int = 3) -> None:
        """Makes the folder, takes hold of it, and clears what a killed writer left.

        Raises ConflictError where another process holds it, UnavailableError where it cannot be used.
        """
        self.folder = folder
        self._keep = keep
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _hold(folder)
            _clear(folder)
        except OSError as error:
            raise UnavailableError(
                f"the checkpoint folder cannot be used: {error}",
                field="checkpoints",
                value=str(folder),
                remedy="give a folder that can be written",
            ) from error

    def close(self) -> None:
        """Lets go of the folder."""
        self._lock.close()

    def names(self) -> list[str]:
        """The checkpoints that are here, oldest first."""
        return sorted(path.name for path in self.folder.glob(f"{_PREFIX}*"))

    def save(self, content: Content) -> str:
        """Commits a checkpoint; returns its name. What was here before stays valid until the new one is.

        1. Write all files into a folder that no reader looks at, and wait for the disk.
        2. Give it its name, which is what makes it a checkpoint.
        3. Wait until the disk has the name.
        4. Delete the oldest beyond `keep`.
        Raises UnavailableError, with nothing left behind, where the disk is full or cannot be written.
        """
        name = f"{_PREFIX}{content.step:012d}"
        unfinished = self.folder / f"{_UNFINISHED}{name}"
        try:
            # 1. Write.
            unfinished.mkdir()
            write_files(unfinished, content)
            # 2. Name it.
            self._give_name(unfinished, name)
            # 3. Wait for the name.
            sync(self.folder)
        except OSError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise UnavailableError(f"the checkpoint of step {content.step} cannot be written: {error}",
                                   field="checkpoints", value=str(self.folder), retry_after_seconds=5.0,
                                   remedy="free some disk space; the one before stays valid") from error  # fmt: skip
        # 4. Delete the oldest.
        for old in self.names()[: -self._keep]:
            self._delete(old)
        return name

    def load_newest(self) -> Loaded:
        """The newest valid checkpoint. A damaged one is refused by name, and the one before it taken.

        Raises InputError for one in another format: that one is not damaged, so nothing older stands in for it.
        """
        refused: list[Refused] = []
        for name in reversed(self.names()):
            try:
                return Loaded(read_files(self.folder / name), refused)
            except FormatError as error:
                _LOGGER.error("checkpoint %s is refused: %s", name, error)
                refused.append(Refused(name, str(error)))
        return Loaded(None, refused)

    def _give_name(self, unfinished: Path, name: str) -> None:
        """Renames. One of the same step that is in the way is moved aside, and only deleted when replaced."""
        target, aside = self.folder / name, self.folder / f"{_REPLACED}{name}"
        if target.exists():
            target.rename(aside)
        unfinished.rename(target)
        shutil.rmtree(aside, ignore_errors=True)

    def _delete(self, name: str) -> None:
        """Takes the name away first, so that no half-deleted folder looks like a checkpoint."""
        going = self.folder / f"{_UNFINISHED}{name}"
        (self.folder / name).rename(going)
        shutil.rmtree(going, ignore_errors=True)


def _clear(folder: Path) -> None:
    """Deletes what a killed writer left half written, and gives back what it had moved aside but not replaced."""
    for left in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left)
    for aside in folder.glob(f"{_REPLACED}*"):
        name = folder / aside.name.removeprefix(_REPLACED)
        if name.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(name)


def _hold(folder: Path) -> TextIO:
    """A lock that ends with the process, however that ends."""
    lock = (folder / _LOCK).open("w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise ConflictError("another process is training into this folder", field="checkpoints", value=str(folder),
                            remedy="stop it, or give another folder") from error  # fmt: skip
    return lock

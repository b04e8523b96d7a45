"""What a command is told to write is tried before it works for minutes or hours, and not behind them."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from pathlib import Path

from streams.contract.errors import InputError


def check_files(args: Namespace, *names: str) -> None:
    """Tries the files that these options name, where they were given. Raises InputError."""
    for name in names:
        path = getattr(args, name)
        if path is not None:
            check_file(path, field=name)


def check_file(path: Path, *, field: str) -> None:
    """Makes the file's folder. Raises InputError where no file can be written there."""
    if path.is_dir():
        raise InputError("is a folder", field=field, value=str(path), remedy="name a file in it")
    check_folder(path.parent, field=field)


def check_folder(folder: Path, *, field: str) -> None:
    """Makes the folder. Raises InputError where nothing can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        raise InputError(f"cannot be written into: {error.strerror}", field=field, value=str(folder),
                         remedy="name a folder that this user may write into") from error  # fmt: skip

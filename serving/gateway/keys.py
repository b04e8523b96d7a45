"""API keys and the file that keeps them, hashed.

A key is `fk_ID_SECRET`; the secret has 256 random bits, so a plain SHA-256 of it cannot be searched,
and no slow hash has to run on the request's path.

    keys.json   {"keys": [{"id": "3f9c…", "roles": ["score"], "sha256": "…", "created_ms": …}]}
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, cast, get_args

import msgspec

from streams.contract.errors import InputError, NotFoundError, UnavailableError

_LOGGER = logging.getLogger(__name__)
_LOOK_SECONDS = 1.0

Role = Literal["score", "ingest", "admin"]
"""score: scoring; ingest: events; admin: both of these, and rollback and promotion."""

ROLES: tuple[str, ...] = get_args(Role)


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key as it is kept: enough to recognise it, not to use it."""

    id: str
    roles: tuple[Role, ...]
    sha256: str
    created_ms: int = 0


class _Content(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    keys: list[ApiKey]


def new_key(roles: Iterable[str]) -> tuple[str, ApiKey]:
    """(the key to hand out, which is not kept anywhere; what is kept). Raises InputError for an unknown role."""
    wanted = tuple(dict.fromkeys(roles))
    unknown = [role for role in wanted if role not in ROLES]
    if unknown or not wanted:
        raise InputError("is not a role", field="access", value=",".join(unknown), remedy=f"use {', '.join(ROLES)}")
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    created_ms = time.time_ns() // 1_000_000
    kept = ApiKey(id=key_id, roles=cast(tuple[Role, ...], wanted), sha256=hash_of(secret), created_ms=created_ms)
    return f"fk_{key_id}_{secret}", kept


def hash_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def read_keys(path: Path) -> list[ApiKey]:
    """The keys in the file, perhaps none. Raises InputError where it is no key file, NotFoundError where it is not."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Content).keys
    except FileNotFoundError as error:
        raise NotFoundError("does not exist", field="api_keys", value=str(path),
                            remedy="make one with `freshet keys new`") from error  # fmt: skip
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", field="api_keys", value=str(path)) from error
    except msgspec.MsgspecError as error:
        raise InputError(f"is not a key file: {error}", field="api_keys", value=str(path)) from error


def load_keys(path: Path) -> list[ApiKey]:
    """The keys in the file. Raises InputError where it is no key file or holds no key."""
    keys = read_keys(path)
    if not keys:
        raise InputError("holds no key", field="api_keys", value=str(path), remedy="add one with `freshet keys new`")
    return keys


def save_keys(path: Path, keys: Iterable[ApiKey]) -> None:
    """Replaces the file in one step; only its owner may read it. Raises UnavailableError; the old one then stays."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(_Content(keys=list(keys)))))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise UnavailableError(f"cannot be written: {error.strerror}", field="api_keys", value=str(path)) from error


@contextmanager
def editing(path: Path, *, create: bool = False) -> Iterator[list[ApiKey]]:
    """The file's keys, to be changed in place; written when the block ends well, durable when this returns.

    Who edits at the same time waits. With `create`, a file that does not exist holds no key yet.
    Raises as `read_keys` and `save_keys`.
    """
    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"has no folder: {error.strerror}", field="api_keys", value=str(path),
                         remedy="make the folder first") from error  # fmt: skip
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        keys = [] if create and not path.exists() else read_keys(path)
        yield keys
        save_keys(path, keys)
        os.fsync(folder)
    finally:
        os.close(folder)


class KeyFile:
    """A key file that is followed: a key that is revoked stops working within about a second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._stamp_now()
        self._look_at = 0.0

    def changed(self) -> list[ApiKey] | None:
        """The keys where the file is another than last time; a damaged or missing one changes nothing."""
        if time.monotonic() < self._look_at:
            return None
        self._look_at = time.monotonic() + _LOOK_SECONDS
        stamp = self._stamp_now()
        if stamp is None or stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            return read_keys(self._path)
        except InputError as error:
            _LOGGER.error("the keys stay what they were: %s", error)
            return None

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

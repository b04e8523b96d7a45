"""API keys with roles, kept hashed; and who may call without one.

On a loopback address no key is asked for unless a key file is given; any other address refuses to
start without one. A key is `fk_ID_SECRET`; the secret has 256 random bits, so a plain SHA-256 of it
cannot be searched, and no slow hash has to run on the request's path.

    keys.json   {"keys": [{"id": "3f9c…", "roles": ["score"], "sha256": "…", "created_ms": …}]}
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, get_args

import msgspec

from serving.http_errors import ForbiddenError, UnauthorisedError
from streams.contract.errors import InputError, UnavailableError

Role = Literal["score", "ingest", "admin"]
"""score: scoring; ingest: events; admin: both of these, and rollback and promotion."""

ROLES: tuple[str, ...] = get_args(Role)


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key as it is kept: enough to recognise it, not to use it."""

    id: str
    roles: tuple[Role, ...]
    sha256: str
    created_ms: int = 0


class _KeyFile(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    keys: list[ApiKey]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what is bound to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def new_key(roles: Iterable[Role]) -> tuple[str, ApiKey]:
    """(the key to hand out, which is not kept anywhere; what is kept). Raises InputError for an unknown role."""
    wanted = tuple(roles)
    unknown = [role for role in wanted if role not in ROLES]
    if unknown or not wanted:
        raise InputError("is not a role", field="role", value=unknown, remedy=f"use {', '.join(ROLES)}")
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    kept = ApiKey(id=key_id, roles=wanted, sha256=_hash(secret), created_ms=time.time_ns() // 1_000_000)
    return f"fk_{key_id}_{secret}", kept


def load_keys(path: Path) -> list[ApiKey]:
    """The keys in the file. Raises InputError where it is no key file or holds no key."""
    try:
        keys = msgspec.json.decode(path.read_bytes(), type=_KeyFile).keys
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", field="api_keys", value=str(path)) from error
    except msgspec.MsgspecError as error:
        raise InputError(f"is not a key file: {error}", field="api_keys", value=str(path)) from error
    if not keys:
        raise InputError("holds no key", field="api_keys", value=str(path), remedy="add one")
    return keys


def save_keys(path: Path, keys: Iterable[ApiKey]) -> None:
    """Replaces the file in one step; only its owner may read it. Raises UnavailableError."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        handle = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(_KeyFile(keys=list(keys)))))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UnavailableError(f"cannot be written: {error.strerror}", field="api_keys", value=str(path)) from error


class Gate:
    """Decides whether a request may pass."""

    def __init__(self, keys: Iterable[ApiKey], *, loopback: bool) -> None:
        self._keys = {key.id: key for key in keys}
        self._loopback = loopback

    @classmethod
    def for_address(cls, host: str, keys_path: Path | None) -> Gate:
        """The gate of a gateway bound to `host`. Raises InputError where others could reach it without keys."""
        keys = load_keys(keys_path) if keys_path is not None else []
        if not keys and not is_loopback(host):
            raise InputError("would let anybody in, for there are no API keys", field="host", value=host,
                             remedy="give a key file, or bind to 127.0.0.1")  # fmt: skip
        return cls(keys, loopback=is_loopback(host))

    def check(self, headers: Mapping[bytes, bytes], role: Role | None) -> None:
        """Raises UnauthorisedError or ForbiddenError. `role` None: any key will do."""
        if not self._keys:
            self._check_local(headers)
            return
        key = self._find(headers.get(b"authorization"))
        if role is not None and role not in key.roles and "admin" not in key.roles:
            raise ForbiddenError("the API key lacks the role", field="authorization", value=role,
                                 remedy=f"use a key with the role {role} or admin")  # fmt: skip

    def _find(self, header: bytes | None) -> ApiKey:
        scheme, _, text = (header or b"").decode("latin-1").partition(" ")
        prefix, _, rest = text.strip().partition("_")
        key_id, _, secret = rest.partition("_")
        key = self._keys.get(key_id)
        # An unknown id takes as long as a wrong secret, so that ids cannot be told by time.
        expected = key.sha256 if key is not None else _hash("")
        known = hmac.compare_digest(_hash(secret), expected)
        if scheme.lower() != "bearer" or prefix != "fk" or key is None or not known:
            raise UnauthorisedError("no valid API key", field="authorization",
                                    remedy="send the header Authorization: Bearer fk_…")  # fmt: skip
        return key

    def _check_local(self, headers: Mapping[bytes, bytes]) -> None:
        """Without keys, a page of another site in a browser on this machine must not reach through."""
        host = headers.get(b"host", b"")
        if self._loopback and not is_loopback(_host_name(host)):
            raise ForbiddenError("is not an address of this machine", field="host", value=host.decode("latin-1"),
                                 remedy="call it as 127.0.0.1 or localhost")  # fmt: skip
        origin = headers.get(b"origin")
        if origin is not None and origin.partition(b"://")[2] != host:
            raise ForbiddenError("is another site", field="origin", value=origin.decode("latin-1"),
                                 remedy="call the gateway from its own pages, or use API keys")  # fmt: skip


def _host_name(host: bytes) -> str:
    text = host.decode("latin-1")
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()

"""Who may call, with a key or without.

On a loopback address no key is asked for unless a key file is given; any other address refuses to
start without one. The file is followed: what is added to it or revoked counts without a restart.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable, Mapping
from pathlib import Path

from serving.gateway.http_errors import ForbiddenError, UnauthorisedError
from serving.gateway.keys import ApiKey, KeyFile, Role, hash_of, load_keys
from streams.contract.errors import InputError


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what is bound to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Gate:
    """Decides whether a request may pass."""

    def __init__(self, keys: Iterable[ApiKey], *, loopback: bool, file: KeyFile | None = None) -> None:
        """`file`: where the keys come from, to be followed. With a file that holds no key nobody may pass."""
        self._keys = {key.id: key for key in keys}
        self._loopback = loopback
        self._file = file
        self._asks = bool(self._keys) or file is not None

    @classmethod
    def for_address(cls, host: str, keys_path: Path | None) -> Gate:
        """The gate of a gateway bound to `host`. Raises InputError where others could reach it without keys."""
        if keys_path is not None:
            file = KeyFile(keys_path)
            return cls(load_keys(keys_path), loopback=is_loopback(host), file=file)
        if not is_loopback(host):
            raise InputError("would let anybody in, for there are no API keys", field="host", value=host,
                             remedy="give a file of keys (see `freshet keys`), or bind to 127.0.0.1")  # fmt: skip
        return cls([], loopback=True)

    def check(self, headers: Mapping[bytes, bytes], role: Role | None) -> None:
        """Raises UnauthorisedError or ForbiddenError. `role` None: any key will do."""
        if not self._asks:
            self._check_local(headers)
            return
        self._follow()
        key = self._find(headers.get(b"authorization"))
        if role is not None and role not in key.roles and "admin" not in key.roles:
            raise ForbiddenError("the API key lacks the role", field="authorization", value=role,
                                 remedy=f"use a key with the role {role} or admin")  # fmt: skip

    def _follow(self) -> None:
        keys = self._file.changed() if self._file is not None else None
        if keys is not None:
            self._keys = {key.id: key for key in keys}

    def _find(self, header: bytes | None) -> ApiKey:
        scheme, _, text = (header or b"").decode("latin-1").partition(" ")
        prefix, _, rest = text.strip().partition("_")
        key_id, _, secret = rest.partition("_")
        key = self._keys.get(key_id)
        # An unknown id takes as long as a wrong secret, so that ids cannot be told by time.
        expected = key.sha256 if key is not None else hash_of("")
        known = hmac.compare_digest(hash_of(secret), expected)
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

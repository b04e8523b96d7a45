"""States of users computed before: in this process, and in Redis for all who serve the model.

    freshet:MODEL:state:DIGEST      state (q,) float32, for a while

The digest is of everything that a state follows from: the version, the user's key where the user has a
row, and the history. So what is found was computed by exactly the version that asks.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from serving.recommender.users import KnownUser
from streams.contract.columns import Array
from streams.contract.errors import UnavailableError
from streams.contract.manifest import Manifest

_DIGEST_BYTES = 16


class Asks(Protocol):
    """The part of the store that a batch may wait for."""

    def ask(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The replies, in one trip a node. Raises UnavailableError, at once where it was away a moment ago."""


def digest_of(manifest: Manifest, user: KnownUser, history: Array) -> bytes:
    """What the state of a user with a history (H,) int64 goes by."""
    known = "" if user.row is None else str(user.key)
    version = f"{manifest.generation} {manifest.version} {manifest.created_ms} {known} "
    return hashlib.blake2b(version.encode() + history.tobytes(), digest_size=_DIGEST_BYTES).digest()


class States:
    """The newest `most` states in this process, and `seconds` of them in Redis; 0: none. Redis may be away."""

    def __init__(self, store: Asks, model: str, *, most: int, seconds: float) -> None:
        self._store = store
        self._prefix = f"freshet:{model}:state:".encode()
        self._most = most
        self._keep_ms = round(1000 * seconds)
        self._held: OrderedDict[bytes, Array] = OrderedDict()

    def find(self, digests: Sequence[bytes], width: int) -> dict[bytes, Array]:
        """Those of the states (width,) that were computed before. Under the recommender's lock."""
        found = {digest: self._held[digest] for digest in digests if digest in self._held}
        for digest in found:
            self._held.move_to_end(digest)
        stored = self._stored([digest for digest in dict.fromkeys(digests) if digest not in found], width)
        self.hold(stored)
        return found | stored

    def hold(self, states: Mapping[bytes, Array]) -> None:
        """Keeps states in this process. Under the recommender's lock."""
        if self._most:
            self._held.update(states)
        while len(self._held) > self._most:
            self._held.popitem(last=False)

    def store(self, states: Mapping[bytes, Array]) -> None:
        """Writes states to Redis. Without the lock: nobody waits for it but who computed them."""
        if not self._keep_ms or not states:
            return
        commands = [("SET", self._prefix + digest, state.tobytes(), "PX", self._keep_ms)
                    for digest, state in states.items()]  # fmt: skip
        self._ask(commands)

    def _stored(self, digests: Sequence[bytes], width: int) -> dict[bytes, Array]:
        if not self._keep_ms or not digests:
            return {}
        replies = self._ask([("GET", self._prefix + digest) for digest in digests])
        whole = {digest: np.frombuffer(reply, dtype="<f4") for digest, reply in zip(digests, replies, strict=False)
                 if reply is not None and len(reply) == 4 * width}  # fmt: skip
        return {digest: state for digest, state in whole.items() if np.isfinite(state).all()}

    def _ask(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        try:
            return self._store.ask(commands)
        except UnavailableError:
            return []

"""Generations and versions for people: listed, shown, rolled back, promoted."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec

from streams.contract.encoding import decode_fields
from streams.contract.errors import FormatError, NotFoundError
from streams.contract.manifest import Generation, Manifest
from streams.log.event_log import MODEL_UPDATES, EventLog
from streams.store.row_store import RowStore

_KEPT_VERSIONS = 1000
_RECORDS_A_READ = 200


class VersionIndex:
    """The manifests of the newest versions, read from their topic when somebody asks, each record once."""

    def __init__(self, open_log: Callable[[], EventLog], topic: str = MODEL_UPDATES) -> None:
        self._open_log = open_log
        self._topic = topic
        self._log: EventLog | None = None
        self._next_offset: int | None = None
        self._pieces: list[bytes] = []
        self._manifests: OrderedDict[int, Manifest] = OrderedDict()
        self._mutex = threading.Lock()

    def manifests(self) -> list[Manifest]:
        """Oldest first. Raises UnavailableError where the log is away; none where nothing has been published."""
        with self._mutex:
            self._catch_up()
            return list(self._manifests.values())

    def manifest(self, version: int) -> Manifest:
        """The version's. Raises NotFoundError."""
        for manifest in self.manifests():
            if manifest.version == version:
                return manifest
        raise NotFoundError("no such version is kept", field="version", value=version, remedy="see GET /v1/models")

    def close(self) -> None:
        """Closes the log where it was opened."""
        if self._log is not None:
            self._log.close()

    def _catch_up(self) -> None:
        self._log = self._log or self._open_log()
        try:
            (partition,) = self._log.partitions(self._topic)
        except NotFoundError:
            return
        if self._next_offset is None:
            self._next_offset = self._log.begin_offsets([partition])[partition]
        while records := self._log.read({partition: self._next_offset}, max_records=_RECORDS_A_READ):
            for record in records:
                self._add(record.value)
            self._next_offset = records[-1].offset + 1

    def _add(self, record: bytes) -> None:
        try:
            _, fields = decode_fields(record)
            if fields["part"] == 0:
                self._pieces = []
            self._pieces.append(fields["bytes"])
            if len(self._pieces) < fields["parts"]:
                return
            manifest = _PAYLOAD.decode(b"".join(self._pieces)).manifest
        except (FormatError, KeyError, msgspec.MsgspecError):
            # A first version cut off by trimming; the scorer is the one who must complain of damage.
            return
        self._pieces = []
        self._manifests[manifest.version] = manifest
        while len(self._manifests) > _KEPT_VERSIONS:
            self._manifests.popitem(last=False)


class _Payload(msgspec.Struct):
    manifest: Manifest


_PAYLOAD = msgspec.msgpack.Decoder(_Payload)


class ModelStore:
    """One model's generations in Redis and its versions in the log. Connects when first used. Blocking calls."""

    def __init__(self, open_store: Callable[[], RowStore], versions: VersionIndex) -> None:
        self._open_store = open_store
        self._store: RowStore | None = None
        self.versions = versions

    def live_generation(self) -> Generation | None:
        """None before the first. Raises UnavailableError."""
        live = self._rows().live()
        return None if live is None else self._rows().generation(live)

    def live_head(self) -> Manifest | None:
        """The newest whole version of the live generation."""
        live = self._rows().live()
        return None if live is None else self._rows().head(live)

    def overview(self) -> dict[str, Any]:
        """Versions, newest first, generations, the live one, and what the gate refused."""
        rows = self._rows()
        generations = []
        for number in rows.generations():
            generation, head = rows.generation(number), rows.head(number)
            generations.append({
                "generation": number,
                "first_version": generation.first_version,
                "head_version": None if head is None else head.version,
                "feature_hash": generation.feature_hash,
                "created_ms": generation.created_ms,
            })  # fmt: skip
        versions = [summary(manifest) for manifest in reversed(self.versions.manifests())]
        return {"model": rows.model, "live": rows.live(), "generations": generations, "versions": versions,
                "refused": rows.refused()}  # fmt: skip

    def refused(self) -> list[dict[str, Any]]:
        """What the gate refused, newest first, with the reasons."""
        return self._rows().refused()

    def rollback(self, generation: int) -> Generation:
        """Raises NotFoundError, ConflictError, UnavailableError."""
        return self._rows().rollback(generation)

    def promote(self, generation: int) -> Generation:
        """Raises NotFoundError, ConflictError, UnavailableError."""
        return self._rows().promote(generation)

    def close(self) -> None:
        """Frees the connections."""
        self.versions.close()
        if self._store is not None:
            self._store.close()

    def _rows(self) -> RowStore:
        if self._store is None:
            self._store = self._open_store()
        return self._store


def summary(manifest: Manifest) -> dict[str, Any]:
    """A manifest without its long lists."""
    fields: dict[str, Any] = msgspec.to_builtins(manifest)
    for name in ("offsets", "ingest_quantiles_ms", "extra"):
        del fields[name]
    return fields

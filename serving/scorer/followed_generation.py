"""One generation of any model on its way from version to version.

`follow` (any one thread) brings versions; `apply_waiting` puts them in, all or nothing, under the
model's lock. Between the two a version waits in `_waiting`, so a batch that meets a newer row in
the store can apply what has come without leaving the lock.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from streams.contract.errors import ConflictError, FormatError
from streams.contract.manifest import Generation, Manifest, ModelUpdate, UpdateAssembler, decode_part
from streams.log.event_log import Record

_LOG = logging.getLogger(__name__)


class Prepared(Protocol):
    """A version checked and made ready, so that applying it is a few vectorised writes."""

    @property
    def manifest(self) -> Manifest:
        """What it is."""
        ...


V = TypeVar("V", bound=Prepared)


class FollowedGeneration(ABC, Generic[V]):
    """What is served of one generation; a model says how a version is prepared, applied and let go."""

    def __init__(self, generation: Generation, head: Manifest) -> None:
        self.generation = generation

        # the version applied, and those that wait
        self.manifest = head
        self.applied_ms: dict[int, int] = {}
        self.broken = False
        self._waiting: deque[V] = deque()
        self._arrived = threading.Condition()

        # where the model's updates go on
        self.next_offset = generation.updates_offset
        self._assembler = UpdateAssembler()
        self._newest_followed = head.version

    @abstractmethod
    def prepare(self, update: ModelUpdate) -> V:
        """The version, checked. On the thread that follows. Raises FormatError naming what does not fit."""

    @abstractmethod
    def put_in(self, version: V) -> None:
        """Applies one version. Under the model's lock; must not fail."""

    @abstractmethod
    def release(self, stored_version: int) -> None:
        """The store has all rows up to `stored_version`: they may be let go. Under the model's lock."""

    @property
    def version(self) -> int:
        """The version applied."""
        return self.manifest.version

    @property
    def num_waiting(self) -> int:
        """Versions that have come and are not applied."""
        return len(self._waiting)

    def follow(self, records: Iterable[Record]) -> None:
        """Takes the next records of the updates; versions of this generation that are new wait to be applied.

        A damaged record is passed over. Raises ConflictError where a version before another one is
        missing: the generation must then be loaded again.
        """
        for record in records:
            self.next_offset = record.offset + 1
            try:
                update = self._assemble(record.value)
                version = None if update is None else self.prepare(update)
            except FormatError as error:
                _LOG.warning("passing over %s, offset %d: %s", record.partition, record.offset, error)
                continue
            if version is not None:
                self._check_parent(version.manifest, record.partition.topic)
                self._newest_followed = version.manifest.version
                self._add(version)

    def apply_waiting(self) -> None:
        """Applies all versions that wait. The caller holds the model's lock."""
        while True:
            with self._arrived:
                if not self._waiting:
                    return
                version = self._waiting.popleft()
            self.put_in(version)
            self.manifest = version.manifest
            self.applied_ms[version.manifest.version] = time.time_ns() // 1_000_000

    def catch_up(self, version: int, timeout_seconds: float) -> bool:
        """Applies versions until at least `version`; False where it does not come in time. Under the lock."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            self.apply_waiting()
            if self.version >= version:
                return True
            with self._arrived:
                if not self._arrived.wait_for(lambda: bool(self._waiting), deadline - time.monotonic()):
                    return False

    def _assemble(self, record: bytes) -> ModelUpdate | None:
        """The version that the record completes, if it is a new one of this generation."""
        part = decode_part(record)
        if part.generation != self.generation.generation or part.version <= self._newest_followed:
            return None
        return self._assembler.add(record)

    def _add(self, version: V) -> None:
        with self._arrived:
            self._waiting.append(version)
            self._arrived.notify_all()

    def _check_parent(self, manifest: Manifest, topic: str) -> None:
        missed = manifest.parent > self._newest_followed and manifest.parent >= self.generation.first_version
        if missed:
            raise ConflictError(f"version {manifest.version} builds on {manifest.parent}, which never came",
                                field=topic, value=self._newest_followed,
                                remedy="the generation is loaded again from the store")  # fmt: skip

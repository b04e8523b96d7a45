"""A transaction's content before it is written, and who holds which transactional id; shared by both logs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from streams.contract.errors import ConflictError
from streams.log.checks import check_offsets, check_sizes
from streams.log.event_log import Append, TopicPartition

Claim = TypeVar("Claim")


@dataclass
class Pending:
    """A Transaction kept in memory: nothing reaches the log before its end."""

    records: list[Append] = field(default_factory=list)
    offsets: dict[str, dict[TopicPartition, int]] = field(default_factory=dict)

    def append(self, records: Sequence[Append]) -> None:
        check_sizes(records)
        self.records += records

    def commit_offsets(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        check_offsets(offsets)
        self.offsets.setdefault(group, {}).update(offsets)

    def __bool__(self) -> bool:
        return bool(self.records or self.offsets)


class TransactionalIds(Generic[Claim]):
    """The ids this log object has claimed, one transaction at a time each. A fenced id stays fenced."""

    def __init__(self, claim: Callable[[str], Claim]) -> None:
        self._claim = claim
        self._claims: dict[str, Claim] = {}
        self._fenced: set[str] = set()
        self._open: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def using(self, transactional_id: str) -> Iterator[Claim]:
        """The claim on the id, made on its first use. ConflictError where it is in use here, or was lost."""
        with self._lock:
            if transactional_id in self._open:
                raise ConflictError("a transaction is open already", field="transactional_id", value=transactional_id)
            if transactional_id in self._fenced:
                raise self.fenced(transactional_id)
            self._open.add(transactional_id)
        try:
            if transactional_id not in self._claims:
                self._claims[transactional_id] = self._claim(transactional_id)
            yield self._claims[transactional_id]
        finally:
            with self._lock:
                self._open.discard(transactional_id)

    @contextmanager
    def fencing(self, transactional_id: str) -> Iterator[None]:
        """Around the commit: a ConflictError in it means that the id is lost for good."""
        try:
            yield
        except ConflictError:
            self._fenced.add(transactional_id)
            raise

    def release(self, transactional_id: str) -> Claim | None:
        """Forgets the claim, so that the next use makes a new one."""
        return self._claims.pop(transactional_id, None)

    def release_all(self) -> list[Claim]:
        """Forgets all claims."""
        claims, self._claims = list(self._claims.values()), {}
        return claims

    @staticmethod
    def fenced(transactional_id: str) -> ConflictError:
        """The error for a writer whose id a newer one has taken over."""
        return ConflictError(
            "a newer writer has taken over this transactional id; nothing was written",
            field="transactional_id",
            value=transactional_id,
            remedy="stop one of the two writers, or open the log again to take the id back",
        )

"""Examples from the event log, turn by turn, so that training is a function of the log alone.

    a turn is the partition's that has come least far in time; it ends at `batch_size` examples or at a Mark

    partition 0   e1 e2 e3 e4 | e5 M6            turns   0: e1 e2 e3 e4   1: e3 e4   0: e5   1: (passed) …
    partition 1   e3 e4 M5 M7                    (size 4; numbers are times)

How far a partition has come is when the last of what was taken from it was settled, by the wall clock
that stands in its records (streams/turns/turns.py). A turn waits until its partition has a full batch or a
mark, whatever stands in the others. A mark with nothing before it passes the turn; a final mark takes
its partition out.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from streams.contract.errors import InputError, UnavailableError
from streams.contract.examples import ExampleBatch, Mark, concat_batches
from streams.log.event_log import EventLog, Record, TopicPartition
from streams.turns.cursor import Cursor, cursor_at
from streams.turns.partition_queue import PartitionQueue, Undecodable
from streams.turns.turns import after_turn, whose_turn

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceConfig:
    """What is read and how batches are cut.

    `until_end` stops at the present end of the log and cuts a last short batch there: where that
    end lies depends on the moment, so such a run is not a function of the log.
    """

    topic: str = "examples"
    kind: str = "click"
    batch_size: int = 256
    until_end: bool = False
    poll_seconds: float = 0.2
    max_records: int = 32
    """Records decoded ahead, a partition."""
    max_passes: int = 256
    """Turns passed without an example before the new position is handed on."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_records", "max_passes"):
            if getattr(self, name) < 1:
                raise InputError("must be at least 1", field=name, value=getattr(self, name))


@dataclass(frozen=True, slots=True)
class Turn:
    """The examples of one turn (None where turns were only passed), and where the log stands behind them."""

    examples: ExampleBatch | None
    cursor: Cursor


@dataclass(slots=True)
class _Collected:
    """One turn of one partition while it is read, what was passed over on the way, and what ended it."""

    pieces: list[ExampleBatch] = field(default_factory=list)
    num_other_kind: int = 0
    num_undecodable: int = 0
    settled_ms: int = 0
    """When the last of it was settled; 0 where nothing says so."""
    end: Literal["full", "mark", "final", "log_end", "stopped"] = "full"


class ExampleSource:
    """Reads the partitions in turn. Not safe for several threads."""

    def __init__(
        self,
        log: EventLog,
        config: SourceConfig,
        *,
        cursor: Cursor | None = None,
        on_undecodable: Callable[[Record, str], None] = lambda record, reason: None,
        stop: threading.Event | None = None,
    ) -> None:
        """From `cursor` on, or from the oldest record kept. InputError where the cursor fits another topic."""
        self._log = log
        self._config = config
        self._on_undecodable = on_undecodable
        self._stop = stop or threading.Event()
        self._partitions = log.partitions(config.topic)
        self._cursor = cursor or _from_the_beginning(log, self._partitions)
        if len(self._cursor.positions) != len(self._partitions):
            raise InputError(f"the topic {config.topic} has {len(self._partitions)} partitions", field="cursor",
                             value=len(self._cursor.positions),
                             remedy="a topic's partitions cannot change under a trainer: begin a new one")  # fmt: skip
        self._queues = [PartitionQueue(position) for position in self._cursor.positions]
        self._log_ended = [False] * len(self._partitions)

    def next_turn(self) -> Turn | None:
        """The next turn that has examples (or `max_passes` without any); None at the end or once stopped."""
        for _ in range(self._config.max_passes):
            partition = whose_turn(self._cursor, self._open())
            if partition is None:
                return None
            collected = self._collect(partition)
            if collected.end == "stopped":
                return None
            self._advance(partition, collected)
            if collected.pieces:
                return Turn(concat_batches(collected.pieces), self._cursor)
        return Turn(None, self._cursor)

    @property
    def cursor(self) -> Cursor:
        """Behind the last turn given out."""
        return self._cursor

    def _open(self) -> list[int]:
        """The partitions that have not ended."""
        ended = zip(self._cursor.finished, self._log_ended, strict=True)
        return [partition for partition, (finished, log_ended) in enumerate(ended) if not (finished or log_ended)]

    def _collect(self, partition: int) -> _Collected:
        queue, missing = self._queues[partition], self._config.batch_size
        turn = _Collected()
        while missing:
            if not queue:
                ran_dry = self._fill(partition)
                if ran_dry is not None:
                    turn.end = ran_dry
                    break
            content = queue.take(missing).content
            turn.settled_ms = _settled_ms(content) or turn.settled_ms
            if isinstance(content, Mark):
                turn.end = "final" if content.final else "mark"
                break
            if isinstance(content, Undecodable):
                turn.num_undecodable += 1
                self._on_undecodable(content.record, content.reason)
            elif content.kind != self._config.kind:
                turn.num_other_kind += len(content)
            elif len(content):
                turn.pieces.append(content)
                missing -= len(content)
        return turn

    def _advance(self, partition: int, turn: _Collected) -> None:
        positions, finished = list(self._cursor.positions), list(self._cursor.finished)
        positions[partition] = self._queues[partition].position
        finished[partition] = turn.end == "final"
        self._log_ended[partition] = turn.end == "log_end"
        self._cursor = msgspec.structs.replace(
            after_turn(self._cursor, partition, turn.settled_ms, self._open()),
            positions=tuple(positions),
            finished=tuple(finished),
            num_other_kind=self._cursor.num_other_kind + turn.num_other_kind,
            num_undecodable=self._cursor.num_undecodable + turn.num_undecodable,
        )

    def _fill(self, partition: int) -> Literal["log_end", "stopped"] | None:
        """Waits until the partition's queue holds something; fills the other empty ones on the way."""
        while not self._queues[partition]:
            if self._stop.is_set():
                return "stopped"
            records = self._read()
            for record in records:
                self._queues[record.partition.partition].extend([record])
            if self._config.until_end and not records and not self._queues[partition]:
                return "log_end"
        return None

    def _read(self) -> list[Record]:
        wanted = {
            place: queue.next_offset
            for place, queue, finished in zip(self._partitions, self._queues, self._cursor.finished, strict=True)
            if not queue and not finished
        }
        if self._config.until_end:
            return self._log.read(wanted, max_records=self._config.max_records)
        try:
            return self._log.read(
                wanted, max_records=self._config.max_records, timeout_seconds=self._config.poll_seconds
            )
        except UnavailableError as error:
            _LOGGER.warning("the event log is away, trying again in %s s: %s", error.retry_after_seconds, error)
            self._stop.wait(error.retry_after_seconds)
            return []


def _settled_ms(content: ExampleBatch | Mark | Undecodable) -> int:
    """When the last of it was settled, by the wall clock; 0 where it does not say."""
    if isinstance(content, Mark):
        return content.ingest_ms
    return int(content.decided_ingest_ms[-1]) if isinstance(content, ExampleBatch) and len(content) else 0


def _from_the_beginning(log: EventLog, partitions: Sequence[TopicPartition]) -> Cursor:
    begin = log.begin_offsets(partitions)
    return cursor_at([begin[partition] for partition in partitions])

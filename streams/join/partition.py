"""The join of one partition, exactly once: input offset, output and state move together.

A step (the numbers stand in the code):

    1. read records of events[p] from the state's offset on
    2. apply them to the state in memory
    3. one log transaction: examples, dead letters, the group's input offset      <- the step counts from here
    4. one SQLite transaction: the state, with the same offset

Killed before 3: nothing happened. Killed between 3 and 4: the state stands at X1, the group at
X2 > X1; on opening, X1..X2 is read again and applied without emitting, which brings the state to
X2, since the join is a function of the records alone. A lost state is the same with X1 = the
oldest record kept.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import xxhash

from streams.contract.errors import ConflictError
from streams.join.config import JoinConfig
from streams.join.dead_letters import encode_dead_letter
from streams.join.join import Join
from streams.join.output import DiscardedOutput, JoinOutput
from streams.join.state import JoinState
from streams.join.stats import JoinStats
from streams.join.store import JoinStore, Position
from streams.log.event_log import DEAD_LETTERS, EVENTS, EXAMPLES, Append, EventLog, Record, TopicPartition

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class JoinTopics:
    """Where the join reads and writes, and under which group its offsets stand."""

    events: str = EVENTS
    examples: str = EXAMPLES
    dead_letters: str = DEAD_LETTERS
    group: str = "join"
    record_bytes: int = 500_000
    """About how large a record of examples grows."""


class PartitionJoin:
    """One partition's join over a log and a state file. After any exception, close it and open another."""

    def __init__(self, log: EventLog, topics: JoinTopics, state: JoinState, join: Join, source: TopicPartition) -> None:
        self.stats = JoinStats()
        self.next_offset = 0
        self.saw_tick = False
        """Whether the newest step held a tick."""
        self.source = source
        self._log = log
        self._topics = topics
        self._state = state
        self._join = join
        self._target = TopicPartition(topics.examples, source.partition)
        self._dead = TopicPartition(topics.dead_letters, source.partition)
        self._transactional_id = f"join-{topics.group}-{source.partition}"

    @classmethod
    def open(
        cls, log: EventLog, topics: JoinTopics, config: JoinConfig, partition: int, state_dir: Path | None
    ) -> PartitionJoin:
        """Fences an older joiner of the partition, opens its state and brings it to the committed offset.

        `state_dir` None keeps the state in memory: every start reads the partition from its oldest record.
        Raises ConflictError where the state belongs to another log or other windows, or is in use.
        """
        source = TopicPartition(topics.events, partition)
        path = None if state_dir is None else state_dir / f"join-{topics.group}-{partition}.sqlite"
        store = JoinStore.open(path)
        try:
            state = JoinState(store, config, source)
            join = cls(log, topics, state, Join(config, state), source)
            join._recover(store.position(), config, "memory" if path is None else str(path))
        except BaseException:
            store.close()
            raise
        return join

    def step(self, records: Sequence[Record]) -> None:
        """Takes the partition's next records through steps 2 to 4."""
        if not records:
            return
        out = JoinOutput(self._topics.record_bytes)
        self._apply(records, out)  # 2
        next_offset = records[-1].offset + 1
        with self._log.transaction(self._transactional_id) as transaction:  # 3
            transaction.append(self._appends(out))
            transaction.commit_offsets(self._topics.group, {self.source: next_offset})
        self._commit_state(records[-1])  # 4
        self.stats.add(out.stats)
        self.saw_tick = out.stats.ticks > 0

    def close(self) -> None:
        """Frees the state file."""
        self._state.close()

    def _apply(self, records: Sequence[Record], out: JoinOutput) -> None:
        self._join.apply(records, out)
        out.flush()

    def _appends(self, out: JoinOutput) -> list[Append]:
        examples = [Append(self._target, value) for value in out.records]
        return examples + [Append(self._dead, encode_dead_letter(letter), letter.key) for letter in out.dead_letters]

    def _commit_state(self, last: Record) -> None:
        self.next_offset = last.offset + 1
        self._state.commit(self.next_offset, last_offset=last.offset, last_digest=_digest(last))
        self._measure()

    def _measure(self) -> None:
        self.stats.held, self.stats.open_windows = self._state.num_held, self._state.num_open_windows
        self.stats.watermark_ms = self._state.known_watermark_ms

    def _recover(self, position: Position | None, config: JoinConfig, path: str) -> None:
        # An empty transaction claims the id: from here on, an older joiner cannot commit any more.
        with self._log.transaction(self._transactional_id):
            pass
        begin = self._log.begin_offsets([self.source])[self.source]
        committed = self._log.committed_offsets(self._topics.group, [self.source]).get(self.source, begin)
        if committed < begin:
            raise ConflictError(
                f"events {committed} to {begin - 1} were deleted before they were joined", field=str(self.source),
                value=committed, remedy="keep events longer; to go on without them, commit the oldest offset kept "
                f"({begin}) for the group {self._topics.group!r}")  # fmt: skip
        if position is not None:
            self._check_position(position, committed, begin, config, path)
        self.next_offset = position.next_offset if position else begin
        if self.next_offset < begin:
            logger.warning("%s: state ends at %d, the oldest event kept is %d", self.source, self.next_offset, begin)
            self.next_offset = begin
        self._catch_up(committed)
        self._measure()

    def _check_position(self, position: Position, committed: int, begin: int, config: JoinConfig, path: str) -> None:
        if position.windows != config.windows_text:
            raise ConflictError(
                f"was joined with other windows ({position.windows})", field="windows_ms", value=config.windows_text,
                remedy="use the same windows, or another group, which joins anew from the oldest event")  # fmt: skip
        remedy = f"if the log was put back or exchanged on purpose, delete {path}: it is rebuilt from the log"
        if position.next_offset > committed:
            raise ConflictError(f"the state is ahead of the group's offset {committed}", field=str(self.source),
                                value=position.next_offset, remedy=remedy)  # fmt: skip
        if position.last_offset >= begin:
            found = self._log.read({self.source: position.last_offset}, max_records=1)
            if not found or found[0].offset != position.last_offset or _digest(found[0]) != position.last_digest:
                raise ConflictError("the state belongs to another log", field=str(self.source),
                                    value=position.last_offset, remedy=remedy)  # fmt: skip

    def _catch_up(self, committed: int) -> None:
        """Applies what the group has committed and the state has not seen; its output is in the log already."""
        if self.next_offset >= committed:
            return
        logger.info("%s: rebuilding state from offset %d to %d", self.source, self.next_offset, committed)
        while self.next_offset < committed:
            records = self._log.read({self.source: self.next_offset}, max_records=1000)
            due = [record for record in records if record.offset < committed]
            if not due:
                # Only gaps are left up to the committed offset.
                self.next_offset = committed
                return
            self._apply(due, DiscardedOutput())
            self._commit_state(due[-1])


def _digest(record: Record) -> int:
    """63 bits, as the position is kept as signed integers."""
    return xxhash.xxh3_64_intdigest(record.value) >> 1

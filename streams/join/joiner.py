"""The joiner: a long-running process that joins the partitions it is given, one log transaction a step each."""

from __future__ import annotations

import gc
import logging
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from streams.contract.encoding import encode_event
from streams.contract.errors import InputError, UnavailableError
from streams.contract.events import Tick
from streams.join.config import JoinConfig
from streams.join.partition import JoinTopics, PartitionJoin
from streams.join.stats import JoinStats, total_stats
from streams.log.event_log import Append, EventLog, Record, TopicPartition

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class JoinerConfig:
    """`partitions` None: all. `state_dir` None: state in memory, rebuilt at every start.

    With `tick_seconds`, a partition that saw no tick for so long gets one from the joiner; under
    `clock` "wall" (live traffic: event times are the wall clock) it carries the time, so that
    windows close though nothing else comes.
    """

    state_dir: Path | None
    join: JoinConfig = field(default_factory=JoinConfig)
    topics: JoinTopics = field(default_factory=JoinTopics)
    partitions: tuple[int, ...] | None = None
    max_records: int = 2000
    tick_seconds: float | None = None
    clock: Literal["data", "wall"] = "data"
    report_seconds: float = 10.0
    measure_seconds: float = 1.0


class Joiner:
    """Joins its partitions in turn, in one thread. Other threads read `measured` and `trouble`, and nothing else."""

    def __init__(self, log: EventLog, config: JoinerConfig) -> None:
        self._log = log
        self._config = config
        self._joins: dict[TopicPartition, PartitionJoin] = {}
        self._past: dict[TopicPartition, JoinStats] = defaultdict(JoinStats)
        self._ticked_at: dict[TopicPartition, float] = {}
        self._reported_at = self._measured_at = time.monotonic()
        self._behind: dict[TopicPartition, int] = {}
        self._sources = self._prepare()
        self.measured: Mapping[int, JoinStats] = self.stats_by_partition
        """`stats_by_partition` as it was about a second ago, while `run` runs."""
        self.trouble = ""
        """What `run` waits for, empty while it joins."""

    @property
    def stats(self) -> JoinStats:
        """Counters over all its partitions since it started; the watermark of the slowest partition."""
        return total_stats(list(self.stats_by_partition.values()))

    @property
    def stats_by_partition(self) -> Mapping[int, JoinStats]:
        """The same, partition by partition."""
        return {source.partition: self._stats_of(source) for source in self._sources}

    def run(self, stop: threading.Event) -> None:
        """Joins until `stop` is set. Waits where log or disk are away; raises where another joiner took over."""
        with _rare_collections():
            while not stop.is_set():
                try:
                    self.run_once(timeout_seconds=0.2)
                    self._measure()
                    self.trouble = ""
                except UnavailableError as error:
                    logger.warning("%s; trying again in %.1f s", error, error.retry_after_seconds)
                    self.trouble = str(error)
                    self.close()
                    stop.wait(error.retry_after_seconds)
                self._report()

    def run_once(self, *, timeout_seconds: float = 0.0) -> int:
        """Opens what is not open, reads once from every partition and joins it. Returns how many records it read.

        After an exception, call `close`; the next call goes on from what was committed.
        """
        self._open()
        self._tick()
        offsets = {source: join.next_offset for source, join in self._joins.items()}
        records = self._log.read(offsets, max_records=self._config.max_records, timeout_seconds=timeout_seconds)
        by_source: dict[TopicPartition, list[Record]] = defaultdict(list)
        for record in records:
            by_source[record.partition].append(record)
        for source, batch in by_source.items():
            self._joins[source].step(batch)
            if self._joins[source].saw_tick:
                self._ticked_at[source] = time.monotonic()
        return len(records)

    def close(self) -> None:
        """Frees the state files; what was not committed is joined again."""
        for source, join in self._joins.items():
            self._past[source].add(join.stats)
            join.close()
        self._joins = {}

    def _prepare(self) -> list[TopicPartition]:
        topics = self._config.topics
        sources = self._log.partitions(topics.events)
        for topic in (topics.examples, topics.dead_letters):
            self._log.create_topic(topic, len(sources))
        if self._config.partitions is None:
            return sources
        for partition in self._config.partitions:
            if not 0 <= partition < len(sources):
                raise InputError("is no partition of the events", field="partitions", value=partition,
                                 remedy=f"use 0 to {len(sources) - 1}")  # fmt: skip
        return [sources[partition] for partition in sorted(set(self._config.partitions))]

    def _open(self) -> None:
        config = self._config
        for source in self._sources:
            if source not in self._joins:
                join = PartitionJoin.open(self._log, config.topics, config.join, source.partition, config.state_dir)
                self._joins[source] = join
                self._ticked_at[source] = time.monotonic()

    def _tick(self) -> None:
        """Appends a tick to each partition that saw none for `tick_seconds`; it comes back as an event like others."""
        if self._config.tick_seconds is None:
            return
        now = time.monotonic()
        due = [source for source, at in self._ticked_at.items() if now - at >= self._config.tick_seconds]
        if due:
            self._log.append([Append(source, self._new_tick()) for source in due])
            self._ticked_at |= dict.fromkeys(due, now)

    def _new_tick(self) -> bytes:
        now_ms = time.time_ns() // 1_000_000
        event_time_ms = now_ms if self._config.clock == "wall" else None
        return encode_event(Tick(event_id=uuid.uuid4().hex, event_time_ms=event_time_ms, ingest_ms=now_ms))

    def _stats_of(self, source: TopicPartition) -> JoinStats:
        stats = JoinStats()
        stats.add(self._past[source])
        join = self._joins.get(source)
        if join is not None:
            stats.add(join.stats)
            stats.held, stats.open_windows = join.stats.held, join.stats.open_windows
            stats.watermark_ms = join.stats.watermark_ms
            stats.behind = self._behind.get(source, 0)
        return stats

    def _measure(self) -> None:
        """Leaves a copy for other threads, who must not see counters while they change."""
        now = time.monotonic()
        if now - self._measured_at < self._config.measure_seconds:
            return
        self._measured_at = now
        ends = self._log.end_offsets(self._sources)
        self._behind = {source: max(0, ends[source] - join.next_offset) for source, join in self._joins.items()}
        self.measured = self.stats_by_partition

    def _report(self) -> None:
        now = time.monotonic()
        if now - self._reported_at >= self._config.report_seconds:
            self._reported_at = now
            logger.info("joined %s", self.stats.as_dict())


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Decoded events come and go by the thousand and form no cycles: looking for some takes a third of the time."""
    thresholds = gc.get_threshold()
    gc.set_threshold(20_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)

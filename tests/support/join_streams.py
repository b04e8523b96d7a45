"""A stream of events over partitions of a log, its uninterrupted join, and a joiner's output read back."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from streams.contract.encoding import encode_event, encode_event_json
from streams.contract.events import Event
from streams.join.joiner import Joiner, JoinerConfig
from streams.log.event_log import Append, EventLog, Record, TopicPartition, partition_for
from tests.support.joining import click, flatten, impression, tick

PARTITIONS = 2


def random_events(count: int, seed: int) -> list[Event]:
    """Impressions with feedback in time, late, early, repeated, unknown and sent twice; ticks; a final tick each."""
    rng = random.Random(seed)
    events: list[Event] = []
    for number in range(count):
        time_ms = 10_000 * number
        shown = impression(f"i{number}", time_ms, "abc", session_id=f"s{number // 3}", user={"n": number})
        events.append(shown)
        for ad in "abcz":
            if rng.random() < 0.2:
                delay_ms = rng.choice([5_000, 300_000, 900_000])
                events.append(click(shown.event_id, ad, time_ms + delay_ms, session_id=shown.session_id))
        if rng.random() < 0.1:
            events.append(rng.choice(events))
    # By time, give or take: feedback may come before its impression.
    events.sort(key=lambda event: (event.event_time_ms or 0) + rng.choice([0, 0, 0, 30_000]))
    return events


def write_events(log: EventLog, topic: str, events: list[Event], seed: int = 0) -> None:
    """The events by their sessions' partitions, some as JSON, some poison between; ticks and a final one in each."""
    rng = random.Random(seed)
    log.create_topic(topic, PARTITIONS)
    appends = []
    for number, event in enumerate(events):
        source = TopicPartition(topic, partition_for(getattr(event, "session_id", ""), PARTITIONS))
        encode = encode_event_json if rng.random() < 0.3 else encode_event
        appends.append(Append(source, encode(event)))
        if rng.random() < 0.02:
            appends.append(Append(source, f"poison {number}".encode()))
        if number % 50 == 49:
            appends += [Append(p, encode_event(tick(f"t{number}"))) for p in log.partitions(topic)]
    appends += [Append(p, encode_event(tick("end", final=True))) for p in log.partitions(topic)]
    for start in range(0, len(appends), 1000):
        log.append(appends[start : start + 1000])


def join_to_the_end(log: EventLog, config: JoinerConfig) -> Joiner:
    """Joins until there is nothing left to read; the joiner is closed."""
    joiner = Joiner(log, config)
    sources = log.partitions(config.topics.events)
    # The end of a partition may lie behind its last record, where Kafka put a marker.
    ends = {source: max((record.offset + 1 for record in _read(log, source)), default=0) for source in sources}
    # Joins before it asks: the offsets of a joiner that was killed are settled once another one takes over.
    while True:
        joiner.run_once(timeout_seconds=0.1)
        committed = log.committed_offsets(config.topics.group, sources)
        if all(committed.get(source, 0) >= end for source, end in ends.items()):
            break
    joiner.close()
    return joiner


def read_values(log: EventLog, source: TopicPartition) -> list[bytes]:
    """Every record's value from the oldest on."""
    return [record.value for record in _read(log, source)]


def _read(log: EventLog, source: TopicPartition) -> list[Record]:
    found: list[Record] = []
    at, end = log.begin_offsets([source])[source], log.end_offsets([source])[source]
    while at < end:
        records = log.read({source: at}, max_records=1000, timeout_seconds=1.0)
        if not records:
            break
        found += records
        at = records[-1].offset + 1
    return found


def examples_of(log: EventLog, config: JoinerConfig) -> list[list[dict[str, Any]]]:
    """Every example and mark, partition by partition."""
    return [flatten(read_values(log, source)) for source in log.partitions(config.topics.examples)]


def dead_letters_of(log: EventLog, config: JoinerConfig) -> list[list[bytes]]:
    """Every dead letter, partition by partition."""
    return [read_values(log, source) for source in log.partitions(config.topics.dead_letters)]


def remove_state(state_dir: Path) -> None:
    """Deletes the state files, as an emptied disk would."""
    for file in state_dir.glob("*"):
        file.unlink()

"""What the join remembers of one partition: a bounded working set in memory, all of it in a JoinStore.

    impression ──> open (in memory) ──windows closed──> on disk only ──horizon passed──> forgotten
    feedback without its impression ──> held (in memory and on disk)

Changes gather in memory and reach the disk at `commit`, with the offset of the log they belong to.
A state that is not committed is thrown away and opened again.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from streams.contract.events import Feedback, Impression
from streams.join.checks import decode_admitted
from streams.join.config import JoinConfig
from streams.join.example_builder import Given
from streams.join.store import NOTHING_SEEN_MS, Changes, JoinStore, Position
from streams.log.event_log import Record, TopicPartition

_NUMBER_BITS = 48
_KIND_BITS = 8


class Entry(msgspec.Struct, gc=False):
    """An impression, by the offset it stands at, with the feedback it got: kind -> candidate -> feedback.

    It stays encoded and hidden from the garbage collector: decoded, it takes ten times the memory,
    and walking all that waits costs the collector as much time as the join itself.
    """

    number: int
    impression_id: str
    event_time_ms: int
    record: bytes
    forget_ms: int
    given: dict[str, dict[int, Given]] = msgspec.field(default_factory=dict)
    num_open: int = 0
    """Windows that have not closed yet."""

    def impression(self) -> Impression:
        """The impression, decoded."""
        impression = decode_admitted(self.record)
        assert isinstance(impression, Impression)
        return impression


@dataclass(frozen=True, slots=True)
class Held:
    """Feedback that waits for its impression."""

    record: Record
    feedback: Feedback
    until_ms: int


class JoinState:
    """Open windows, held feedback, ids and the watermark of `partition`."""

    def __init__(self, store: JoinStore, config: JoinConfig, partition: TopicPartition) -> None:
        self.watermark_ms = NOTHING_SEEN_MS
        self.final_number = -1

        # what it stands on
        self._store = store
        self._config = config
        self._partition = partition

        # working set
        self._by_id: dict[str, Entry] = {}
        self._by_number: dict[int, Entry] = {}
        self._cached_bytes = 0
        self._closings: list[int] = []
        self._held: OrderedDict[int, Held] = OrderedDict()
        self._held_for: dict[str, list[int]] = {}

        # since the last commit
        self._changes = Changes()
        self._new_seen: dict[str, tuple[int, int]] = {}
        self._settled: list[int] = []
        self._looked_up: dict[str, tuple[int, int] | None] = {}

        self._load()

    @property
    def num_held(self) -> int:
        """Feedback that waits for its impression."""
        return len(self._held)

    @property
    def num_open_windows(self) -> int:
        """(impression, kind) pairs that are not decided."""
        return len(self._closings)

    @property
    def known_watermark_ms(self) -> int | None:
        """The watermark, None before the first event time."""
        return None if self.watermark_ms == NOTHING_SEEN_MS else self.watermark_ms

    def look_up(self, keys: list[str]) -> None:
        """Fetches from disk what is known of these ids: a step's ids at once cost a fraction of one by one."""
        self._looked_up = dict.fromkeys(keys)
        self._looked_up |= self._store.seen(keys)

    def is_duplicate(self, key: str) -> bool:
        """Whether an event of that id was seen within the horizon."""
        return self._seen(key) is not None

    def remember_id(self, key: str, number: int) -> None:
        """Takes the id as seen. Call it once the event's own time has moved the watermark."""
        until_ms = self.watermark_ms + self._config.dedup_ms
        self._new_seen[key] = (number, until_ms)
        self._changes.seen.append((number, key, until_ms))

    def knew_impression(self, impression_id: str) -> bool:
        """Whether an impression of that id came, be it forgotten since."""
        return self._seen(f"I{impression_id}") is not None

    def add_impression(self, impression: Impression, number: int, record: bytes) -> Entry:
        """Remembers the impression and opens those of its windows that the watermark has not passed."""
        forget_ms = impression.event_time_ms + self._config.remember_ms
        entry = Entry(number, impression.event_id, impression.event_time_ms, record, forget_ms)
        if forget_ms > self.watermark_ms:
            self._changes.impressions.append((number, impression.event_time_ms, forget_ms, record))
            entry.num_open = self._open_windows(number, impression.event_time_ms)
            self._cache(entry)
        return entry

    def find_impression(self, impression_id: str) -> Entry | None:
        """The remembered impression of that id, from memory or disk."""
        entry = self._by_id.get(impression_id)
        if entry is None:
            seen = self._seen(f"I{impression_id}")
            entry = self._load_entry(seen[0]) if seen else None
            if entry is not None:
                self._cache(entry)
        return entry if entry is not None and entry.forget_ms > self.watermark_ms else None

    def give(self, entry: Entry, kind: str, row: int, given: Given) -> None:
        """Notes that candidate `row` got feedback of that kind."""
        entry.given.setdefault(kind, {})[row] = given
        if entry.number in self._by_number:
            self._changes.given.append((entry.number, kind, row, given.value, given.delay_ms))

    def is_closed(self, entry: Entry, kind: str) -> bool:
        """Whether the window of that kind has been decided, or is due to be."""
        if entry.number < self.final_number:
            return True
        return entry.event_time_ms + self._config.window_ms(kind) <= self.watermark_ms

    def close_windows(self, *, everything: bool = False) -> Iterator[tuple[Entry, str]]:
        """Takes out the windows that the watermark has passed, by deadline, then arrival, then kind."""
        limit = (self.watermark_ms + 1) << (_NUMBER_BITS + _KIND_BITS)
        while self._closings and (everything or self._closings[0] < limit):
            packed = heapq.heappop(self._closings)
            number = (packed >> _KIND_BITS) & ((1 << _NUMBER_BITS) - 1)
            entry = self._by_number.get(number) or self._load_entry(number)
            assert entry is not None
            entry.num_open -= 1
            if entry.num_open == 0:
                self._settled.append(number)
            yield entry, self._config.kinds[packed & ((1 << _KIND_BITS) - 1)]

    def hold(self, record: Record, feedback: Feedback) -> Held | None:
        """Keeps the feedback until its impression comes; returns the oldest one where there are too many now."""
        until_ms = self.watermark_ms + self._config.hold_ms
        self._remember_held(Held(record, feedback, until_ms))
        self._changes.held.append((record.offset, until_ms, record.key, record.value))
        return self._drop_oldest_held() if len(self._held) > self._config.max_held else None

    def release(self, impression_id: str) -> list[Held]:
        """Takes out what waited for that impression, oldest first."""
        numbers = self._held_for.pop(impression_id, [])
        self._changes.unheld.extend((number,) for number in numbers)
        return [self._held.pop(number) for number in numbers]

    def expire_held(self, *, everything: bool = False) -> Iterator[Held]:
        """Takes out what has waited too long, oldest first."""
        while self._held:
            oldest = next(iter(self._held.values()))
            if not everything and oldest.until_ms > self.watermark_ms:
                return
            yield self._drop_oldest_held()

    def commit(self, next_offset: int, *, last_offset: int, last_digest: int) -> None:
        """Writes everything since the last commit, as the state at `next_offset`."""
        position = Position(
            next_offset=next_offset,
            windows=self._config.windows_text,
            watermark_ms=self.watermark_ms,
            final_number=self.final_number,
            last_offset=last_offset,
            last_digest=last_digest,
        )
        self._store.commit(self._changes, position)
        self._changes, self._new_seen, self._looked_up = Changes(), {}, {}
        self._trim()

    def close(self) -> None:
        """Frees the file; what is not committed is gone."""
        self._store.close()

    def _load(self) -> None:
        position = self._store.position()
        if position is not None:
            self.watermark_ms, self.final_number = position.watermark_ms, position.final_number
        longest_ms = max(self._config.windows_ms.values())
        for number, event_time_ms in self._store.impressions_since(self.final_number, self.watermark_ms - longest_ms):
            self._open_windows(number, event_time_ms)
        for number, until_ms, key, value in self._store.held():
            feedback = decode_admitted(value)
            assert isinstance(feedback, Feedback)
            self._remember_held(Held(Record(self._partition, number, key, value, 0), feedback, until_ms))

    def _open_windows(self, number: int, event_time_ms: int) -> int:
        num_open = 0
        for index, kind in enumerate(self._config.kinds):
            deadline_ms = event_time_ms + self._config.window_ms(kind)
            if deadline_ms > self.watermark_ms:
                packed = ((deadline_ms << _NUMBER_BITS | number) << _KIND_BITS) | index
                heapq.heappush(self._closings, packed)
                num_open += 1
        return num_open

    def _seen(self, key: str) -> tuple[int, int] | None:
        seen = self._new_seen.get(key)
        if seen is None:
            if key not in self._looked_up:
                self._looked_up |= {key: None, **self._store.seen([key])}
            seen = self._looked_up[key]
        return seen if seen is not None and seen[1] > self.watermark_ms else None

    def _load_entry(self, number: int) -> Entry | None:
        row = self._store.impression(number)
        if row is None:
            return None
        forget_ms, record = row
        impression = decode_admitted(record)
        assert isinstance(impression, Impression)
        entry = Entry(number, impression.event_id, impression.event_time_ms, record, forget_ms)
        for kind, candidate, value, delay_ms in self._store.given(number):
            entry.given.setdefault(kind, {})[candidate] = Given(value, delay_ms)
        entry.num_open = sum(not self.is_closed(entry, kind) for kind in self._config.kinds)
        return entry

    def _cache(self, entry: Entry) -> None:
        self._by_id[entry.impression_id] = entry
        self._by_number[entry.number] = entry
        self._cached_bytes += len(entry.record)
        if entry.num_open == 0:
            self._settled.append(entry.number)

    def _trim(self) -> None:
        """Drops from memory what is decided, then the oldest beyond the bound; the disk has it all."""
        for number in self._settled:
            self._drop(number)
        self._settled = []
        excess_bytes = self._cached_bytes - self._config.cached_bytes
        if excess_bytes > 0:
            for number in _oldest(self._by_number, excess_bytes):
                self._drop(number)

    def _drop(self, number: int) -> None:
        entry = self._by_number.pop(number, None)
        if entry is not None:
            if self._by_id.get(entry.impression_id) is entry:
                del self._by_id[entry.impression_id]
            self._cached_bytes -= len(entry.record)

    def _remember_held(self, held: Held) -> None:
        self._held[held.record.offset] = held
        self._held_for.setdefault(held.feedback.impression_id, []).append(held.record.offset)

    def _drop_oldest_held(self) -> Held:
        number, held = self._held.popitem(last=False)
        waiting = self._held_for[held.feedback.impression_id]
        waiting.remove(number)
        if not waiting:
            del self._held_for[held.feedback.impression_id]
        self._changes.unheld.append((number,))
        return held


def _oldest(entries: dict[int, Entry], num_bytes: int) -> list[int]:
    """The first entries that make up `num_bytes` together."""
    numbers = []
    for number, entry in entries.items():
        if num_bytes <= 0:
            break
        numbers.append(number)
        num_bytes -= len(entry.record)
    return numbers

"""Impressions and feedback into labelled examples: a function of one partition's records in their order.

    watermark = newest event time so far; no wall clock, no randomness

    I(t=0) ──── F(t=3) ─────── any event at t >= window ───── F(t=late) ───── horizon
      waits       label 1        the rest: label 0               correction      dead letter

Every (impression, candidate, kind) is emitted once, and at most once more as a correction. The
join knows nothing of files, offsets or transactions: `apply` changes its JoinState and fills a
JoinOutput; who commits both, and when, does not change what comes out.
"""

from __future__ import annotations

from collections.abc import Sequence

from streams.contract.errors import FormatError
from streams.contract.events import FINAL_TIME_MS, Event, Feedback, Impression, Tick
from streams.contract.examples import Mark
from streams.join.checks import admit
from streams.join.config import JoinConfig
from streams.join.dead_letters import (
    BEYOND_HORIZON,
    HELD_OVERFLOW,
    TOO_LARGE,
    UNDECODABLE,
    UNKNOWN_AD,
    UNKNOWN_IMPRESSION,
    UNKNOWN_KIND,
)
from streams.join.example_builder import Emission, Given
from streams.join.output import JoinOutput, fits
from streams.join.state import Entry, Held, JoinState
from streams.log.event_log import Record

_CHUNK = 256
"""Events decoded at once: enough to share a look-up on disk, few enough to stay in the processor's cache."""


class Join:
    """The join of one partition. Records must come in the partition's order, each once."""

    def __init__(self, config: JoinConfig, state: JoinState) -> None:
        self._config = config
        self._state = state
        self._out = JoinOutput()

    def apply(self, records: Sequence[Record], out: JoinOutput) -> None:
        """Takes in the next records. Whatever their bytes are, nothing is raised: the unusable become dead letters."""
        self._out = out
        for start in range(0, len(records), _CHUNK):
            self._apply_chunk(records[start : start + _CHUNK])

    def _apply_chunk(self, records: Sequence[Record]) -> None:
        events = [_admit(record) for record in records]
        self._state.look_up([_key(event) for event in events if not isinstance(event, FormatError)])
        for record, event in zip(records, events, strict=True):
            if isinstance(event, FormatError):
                self._out.bury(record, UNDECODABLE, str(event))
            elif isinstance(event, Impression) and not fits(event, len(record.value)):
                self._out.bury(record, TOO_LARGE, "one candidate of it would not fit into a record of examples")
            else:
                self._take(event, record)

    def _take(self, event: Event, record: Record) -> None:
        key = _key(event)
        if self._state.is_duplicate(key):
            self._out.stats.duplicates += 1
            return
        self._advance(event.event_time_ms, event.ingest_ms)
        self._state.remember_id(key, record.offset)
        if isinstance(event, Impression):
            self._impression(event, record)
        elif isinstance(event, Feedback):
            self._feedback(event, record)
        else:
            self._tick(event, record)

    def _advance(self, event_time_ms: int | None, ingest_ms: int) -> None:
        """Moves the watermark, decides the windows it passes and gives up feedback that waited too long."""
        if event_time_ms is None or not self._state.watermark_ms < event_time_ms < FINAL_TIME_MS:
            return
        self._state.watermark_ms = event_time_ms
        for entry, kind in self._state.close_windows():
            self._decide(entry, kind, ingest_ms)
        for held in self._state.expire_held():
            self._give_up(held)

    def _impression(self, impression: Impression, record: Record) -> None:
        self._out.stats.impressions += 1
        entry = self._state.add_impression(impression, record.offset, record.value)
        late: list[Held] = []
        for held in self._state.release(impression.event_id):
            # It came before its impression; its own time says whether it was within the window.
            in_time = held.feedback.event_time_ms < self._deadline_ms(entry, held.feedback.kind)
            if in_time:
                self._label(entry, held.feedback, held.record, impression.ingest_ms, late=False)
            else:
                late.append(held)
        for kind in self._config.kinds:
            if self._state.is_closed(entry, kind):
                self._decide(entry, kind, impression.ingest_ms)
        for held in late:
            self._label(entry, held.feedback, held.record, impression.ingest_ms, late=True)

    def _feedback(self, feedback: Feedback, record: Record) -> None:
        self._out.stats.feedback += 1
        if feedback.kind not in self._config.windows_ms:
            self._out.bury(record, UNKNOWN_KIND, f"kind {feedback.kind!r} has no window")
            return
        entry = self._state.find_impression(feedback.impression_id)
        if entry is not None:
            late = self._state.is_closed(entry, feedback.kind)
            self._label(entry, feedback, record, feedback.ingest_ms, late=late)
        elif self._state.knew_impression(feedback.impression_id):
            self._out.bury(record, BEYOND_HORIZON, f"impression {feedback.impression_id!r} is forgotten")
        else:
            overflow = self._state.hold(record, feedback)
            if overflow is not None:
                self._out.bury(overflow.record, HELD_OVERFLOW, f"more than {self._config.max_held} wait")

    def _label(self, entry: Entry, feedback: Feedback, record: Record, ingest_ms: int, *, late: bool) -> None:
        """Gives the feedback to its candidate; emits it, unless the close of the window will."""
        impression = entry.impression()
        try:
            row = impression.ad_ids.index(feedback.ad_id)
        except ValueError:
            self._out.bury(record, UNKNOWN_AD, f"impression {impression.event_id!r} did not show {feedback.ad_id!r}")
            return
        if row in entry.given.get(feedback.kind, ()):
            self._out.stats.repeated += 1
            return
        delay_ms = feedback.delay_ms
        if delay_ms is None:
            delay_ms = max(0, feedback.event_time_ms - impression.event_time_ms)
        given = Given(feedback.value, delay_ms)
        self._state.give(entry, feedback.kind, row, given)
        if late or self._config.emit_positives_at_once:
            self._emit(entry, impression, feedback.kind, [row], ingest_ms, {row: given}, correction=late)

    def _decide(self, entry: Entry, kind: str, ingest_ms: int) -> None:
        """Emits the candidates that wait for this window's end."""
        impression = entry.impression()
        rows = range(len(impression.ad_ids))
        given = entry.given.get(kind, {})
        if not self._config.emit_positives_at_once:
            # A copy: later feedback must not reach into what is decided here.
            self._emit(entry, impression, kind, rows, ingest_ms, dict(given), correction=False)
        elif given:
            waiting = [row for row in rows if row not in given]
            self._emit(entry, impression, kind, waiting, ingest_ms, {}, correction=False)
        else:
            self._emit(entry, impression, kind, rows, ingest_ms, {}, correction=False)

    def _emit(
        self,
        entry: Entry,
        impression: Impression,
        kind: str,
        rows: range | list[int],
        ingest_ms: int,
        given: dict[int, Given],
        *,
        correction: bool,
    ) -> None:
        if rows:
            self._out.emit(
                Emission(
                    kind=kind,
                    impression=impression,
                    num_bytes=len(entry.record),
                    rows=rows,
                    decided_ingest_ms=ingest_ms,
                    decided_time_ms=self._state.watermark_ms,
                    given=given,
                    correction=correction,
                )
            )

    def _tick(self, tick: Tick, record: Record) -> None:
        self._out.stats.ticks += 1
        if tick.final:
            for entry, kind in self._state.close_windows(everything=True):
                self._decide(entry, kind, tick.ingest_ms)
            for held in self._state.expire_held(everything=True):
                self._give_up(held)
            self._state.final_number = record.offset
        self._out.mark(Mark(final=tick.final, ingest_ms=tick.ingest_ms))

    def _give_up(self, held: Held) -> None:
        feedback = held.feedback
        self._out.bury(held.record, UNKNOWN_IMPRESSION, f"impression {feedback.impression_id!r} never came")

    def _deadline_ms(self, entry: Entry, kind: str) -> int:
        return entry.event_time_ms + self._config.windows_ms[kind]


def _admit(record: Record) -> Event | FormatError:
    try:
        return admit(record.value)
    except FormatError as error:
        return error


def _key(event: Event) -> str:
    """The event's id among all events: two producers may number their impressions and their feedback alike."""
    return f"{type(event).__name__[0]}{event.event_id}"

"""Our own events, one JSON object a line, as they were recorded (docs/events.md).

Feedback stands somewhere behind its impression. To bring both together, impressions wait until
`MAX_OPEN` newer ones are there; replay sends the lines as they stand instead (`read_events`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from streams.contract.encoding import decode_event
from streams.contract.errors import FormatError
from streams.contract.event_checks import check_event
from streams.contract.events import Event, Feedback, Impression, Tick
from streams.datasets.badlines import BadLines
from streams.datasets.lines import Line, parse_lines, read_lines, require_file
from streams.datasets.observed import Observed
from streams.datasets.options import DatasetOptions

MAX_OPEN = 100_000


def open_events_jsonl(path: Path, options: DatasetOptions, bad_lines: BadLines) -> Iterator[Observed]:
    """The impressions in the order of time, each with its feedback. Memory: `MAX_OPEN` impressions.

    Feedback whose impression is unknown, or too long ago to be held, is noted as a bad line.
    """
    require_file(path)
    return _grouped(read_lines(path, bad_lines), bad_lines, MAX_OPEN)


def read_events(path: Path, bad_lines: BadLines) -> Iterator[Event]:
    """The events as they stand in the file; ticks too."""
    require_file(path)
    return parse_lines(read_lines(path, bad_lines), _event, bad_lines)


def _event(line: Line) -> Event:
    try:
        event = decode_event(line.text.encode())
        check_event(event)
        return event
    except FormatError as error:
        remedy = f"{error.remedy or 'see docs/events.md'}; or skip bad lines with --max-bad-lines"
        raise line.error(error.field or "event", error.message, error.value, remedy) from error


def _grouped(lines: Iterator[Line], bad_lines: BadLines, max_open: int) -> Iterator[Observed]:
    grouping = _Grouping()
    for _ in parse_lines(lines, grouping.take, bad_lines):
        if len(grouping.open) > max_open:
            yield grouping.oldest()
    while grouping.open:
        yield grouping.oldest()


class _Grouping:
    """The impressions that may still get feedback, oldest first."""

    def __init__(self) -> None:
        self.open: dict[str, Observed] = {}
        self._now_ms = 0

    def oldest(self) -> Observed:
        return self.open.pop(next(iter(self.open)))

    def take(self, line: Line) -> None:
        event = _event(line)
        if isinstance(event, Impression):
            self._take_impression(line, event)
        elif isinstance(event, Feedback):
            self._take_feedback(line, event)
        else:
            assert isinstance(event, Tick)

    def _take_impression(self, line: Line, impression: Impression) -> None:
        if impression.event_time_ms < self._now_ms:
            raise line.error("event_time_ms", "is earlier than the impression before", impression.event_time_ms,
                             "sort the impressions by event_time_ms")  # fmt: skip
        if impression.event_id in self.open:
            raise line.error("event_id", "has come before", impression.event_id, "give each event an id of its own")
        self._now_ms = impression.event_time_ms
        self.open[impression.event_id] = Observed(impression)

    def _take_feedback(self, line: Line, feedback: Feedback) -> None:
        observed = self.open.get(feedback.impression_id)
        if observed is None:
            raise line.error("impression_id", f"is of none of the last {MAX_OPEN} impressions", feedback.impression_id,
                             "put feedback behind its impression")  # fmt: skip
        if feedback.event_time_ms < observed.impression.event_time_ms:
            raise line.error("event_time_ms", "is earlier than its impression", feedback.event_time_ms)
        observed.feedback.append(feedback)

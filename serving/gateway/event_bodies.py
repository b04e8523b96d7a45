"""The forms in which events may be posted, told apart by content type and first byte.

{"events": [{…}, …]}     [{…}, …]     {"type": …, …}     JSON, or the same in MessagePack
one {…} a line                                           newline-delimited JSON
0xF5 …                                                   one binary record (streams/contract/encoding.py)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from serving.gateway.body_faults import body_fault, non_finite_fault
from serving.gateway.wire import MSGPACK, NDJSON, media_type
from streams.contract.encoding import MAGIC, decode_event, event_from_fields
from streams.contract.errors import FormatError, InputError, TooLargeError
from streams.contract.event_checks import check_event
from streams.contract.events import Event

MAX_EVENTS = 10_000


@dataclass(slots=True)
class Parsed:
    """Each entry an event, or why it is none. `single`: the body was one event, not a list."""

    events: list[Event | InputError]
    single: bool = False


def parse_events(body: bytes, content_type: str) -> Parsed:
    """Raises FormatError where the body as a whole cannot be read, TooLargeError for too many events."""
    media = media_type(content_type)
    if body[:1] == bytes((MAGIC,)):
        return Parsed([_from_record(body)], single=True)
    if media == NDJSON:
        return _from_lines(body)
    try:
        content = msgspec.msgpack.decode(body) if media == MSGPACK else msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if media != MSGPACK and b"\n" in body.strip() and body.lstrip()[:1] == b"{":
            lines = _from_lines(body)
            if any(not isinstance(event, InputError) for event in lines.events):
                return lines
        raise body_fault(error, body, packed=media == MSGPACK) from error
    if isinstance(content, dict) and "events" not in content:
        return Parsed([_from_fields(content)], single=True)
    events = content.get("events") if isinstance(content, dict) else content
    if not isinstance(events, list):
        raise FormatError("is not a list of events", field="events", value=events,
                          remedy='send {"events": [...]}')  # fmt: skip
    _check_number(len(events))
    return Parsed([_from_fields(fields) for fields in events])


def _from_lines(body: bytes) -> Parsed:
    lines = [line for line in body.split(b"\n") if line.strip()]
    _check_number(len(lines))
    return Parsed([_from_line(line) for line in lines])


def _check_number(number: int) -> None:
    if number > MAX_EVENTS:
        raise TooLargeError("too many events in one request", field="events", value=number,
                            remedy=f"send at most {MAX_EVENTS}")  # fmt: skip


def _from_line(line: bytes) -> Event | InputError:
    try:
        return _from_fields(msgspec.json.decode(line))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return body_fault(error, line, packed=False)


def _from_record(record: bytes) -> Event | InputError:
    try:
        event = decode_event(record)
        check_event(event)
    except InputError as error:
        return error
    return non_finite_fault(msgspec.to_builtins(event)) or event


def _from_fields(fields: Any) -> Event | InputError:
    if not isinstance(fields, dict):
        return FormatError("is not an object", field="event", value=fields, remedy='send {"type": ...}')
    try:
        event = event_from_fields(fields)
        fault = non_finite_fault(fields)
        if fault is None:
            check_event(event)
    except InputError as error:
        return error
    return fault or event

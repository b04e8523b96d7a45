"""Events and example batches as bytes: versioned MessagePack, or JSON, told apart by the first byte.

    binary   0xF5  kind (1 byte: I F T E M U)  version (1 byte)  MessagePack map
    JSON     {"type": "impression" | "feedback" | "tick", "v"?: 1, ...}

A field that this version does not know is kept in `extra` and written back; an older version
is upgraded step by step before it is read; a newer one is read as far as it is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from streams.contract.errors import FormatError, InputError
from streams.contract.event_checks import check_shown
from streams.contract.events import Event, Feedback, Impression, Tick
from streams.contract.misfit import misfit

MAGIC = 0xF5
VERSION = 2

_TYPES: dict[str, type[Impression] | type[Feedback] | type[Tick]] = {
    "impression": Impression,
    "feedback": Feedback,
    "tick": Tick,
}
_CODES = {"impression": b"I", "feedback": b"F", "tick": b"T", "examples": b"E", "mark": b"M", "update": b"U"}
_KINDS = {code[0]: kind for kind, code in _CODES.items()}
_FIELDS = {kind: frozenset(f.name for f in msgspec.structs.fields(t)) for kind, t in _TYPES.items()}
_MALFORMED = (
    msgspec.MsgspecError, TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError
)  # fmt: skip
"""What arbitrary bytes make the decoders, the upgrades and the conversions raise."""
_MSGPACK = msgspec.msgpack.Encoder()
_JSON = msgspec.json.Encoder()


def _feedback_from_1(fields: dict[str, Any]) -> dict[str, Any]:
    """Version 1 wrote a click as `clicked: true` and its delay in seconds."""
    if fields.pop("clicked", None) is not None:
        fields.setdefault("kind", "click")
    if "delay_seconds" in fields:
        fields["delay_ms"] = round(1000 * fields.pop("delay_seconds"))
    return fields


UPGRADES: Mapping[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {
    ("feedback", 1): _feedback_from_1,
}
"""(kind, version) -> the step that brings the fields to version + 1; absent where nothing changed."""


def encode_event(event: Event) -> bytes:
    """The event in the binary form of the present version; `extra` fields are written beside the known ones.

    Raises InputError for an impression that shows no ad, and for a value that the form cannot hold.
    """
    kind = type(event).__name__.lower()
    if isinstance(event, Impression) and not event.ad_ids:
        check_shown(event)
    fields = _with_extra(event)
    try:
        return encode_fields(kind, fields)
    except _MALFORMED as error:
        raise _cannot_hold(kind, fields, error) from error


def encode_event_json(event: Event) -> bytes:
    """The event as one JSON object with its `type`."""
    return _JSON.encode({"type": type(event).__name__.lower(), "v": VERSION, **_with_extra(event)})


def decode_event(data: bytes) -> Event:
    """An event from either form. Raises FormatError, and nothing else, naming the field and what was expected."""
    if data[:1] != b"{":
        return _build(*decode_fields(data))
    event = event_from_fields(_json_fields(data))
    # JSON can hold what the binary form cannot, such as integers without bound.
    encode_event(event)
    return event


def event_from_fields(fields: dict[str, Any]) -> Event:
    """An event from a JSON object's fields: `type`, optional `v`, and the event's own. Raises FormatError."""
    fields = dict(fields)
    kind = fields.pop("type", None)
    if not isinstance(kind, str) or kind not in _TYPES:
        raise FormatError("unknown event type", field="type", value=kind, remedy=f"use one of {', '.join(_TYPES)}")
    version = fields.pop("v", VERSION)
    if not isinstance(version, int) or version < 1:
        raise FormatError("is not a version", field="v", value=version, remedy=f"use 1 to {VERSION}")
    return _build(kind, _upgrade(kind, version, fields))


def encode_fields(kind: str, fields: Mapping[str, Any]) -> bytes:
    """A record of `kind` with `fields` behind the binary header."""
    return bytes((MAGIC, _CODES[kind][0], VERSION)) + _MSGPACK.encode(fields)


def decode_fields(data: bytes) -> tuple[str, dict[str, Any]]:
    """(kind, fields upgraded to the present version) of a binary record. Raises FormatError."""
    if len(data) < 4 or data[0] != MAGIC:
        raise FormatError("neither a Freshet record nor JSON", field="header", value=data[:4])
    kind = _KINDS.get(data[1])
    if kind is None:
        raise FormatError("unknown kind of record", field="header.kind", value=data[1:2])
    try:
        fields = msgspec.msgpack.decode(memoryview(data)[3:])
    except _MALFORMED as error:
        raise FormatError(f"truncated or damaged record: {error}", field=kind, value=data[:24],
                          remedy="send the record again, whole") from error  # fmt: skip
    if not isinstance(fields, dict):
        raise FormatError("is not a map", field=kind, value=fields)
    return kind, _upgrade(kind, data[2], fields)


def _json_fields(data: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(data)
    except _MALFORMED as error:
        raise FormatError(f"is not JSON: {error}", field="event", value=data[:80],
                          remedy="send one JSON object") from error  # fmt: skip
    assert isinstance(fields, dict)
    return fields


def _upgrade(kind: str, version: int, fields: dict[str, Any]) -> dict[str, Any]:
    for step in range(version, VERSION):
        upgrade = UPGRADES.get((kind, step))
        try:
            fields = upgrade(fields) if upgrade else fields
        except _MALFORMED as error:
            raise FormatError(f"cannot be upgraded from version {step}: {error}", field=kind, value=fields,
                              remedy=f"see the {kind} fields in docs/events.md") from error  # fmt: skip
    return fields


def _build(kind: str, fields: dict[str, Any]) -> Event:
    if kind not in _TYPES:
        raise FormatError("is not an event", field="header.kind", value=kind)
    unknown = {name: fields[name] for name in fields.keys() - _FIELDS[kind]}
    extra = fields.get("extra", {})
    if unknown and isinstance(extra, dict):
        fields = {name: value for name, value in fields.items() if name not in unknown}
        fields["extra"] = {**extra, **unknown}
    try:
        event: Event = msgspec.convert(fields, _TYPES[kind])
    except msgspec.ValidationError as error:
        what, field, value = misfit(error, fields)
        raise FormatError(what, field=field or kind, value=value,
                          remedy=f"see the {kind} fields in docs/events.md") from error  # fmt: skip
    if isinstance(event, Impression):
        check_shown(event)
    return event


def _with_extra(event: Event) -> dict[str, Any]:
    fields = msgspec.structs.asdict(event)
    extra = {name: value for name, value in fields.pop("extra").items() if name not in fields}
    return {**{k: v for k, v in fields.items() if v is not None and v != [] and v != {}}, **extra}


def _cannot_hold(kind: str, fields: Mapping[str, Any], error: Exception) -> InputError:
    """The error that names the first of `fields` which cannot be encoded."""
    for name, value in fields.items():
        try:
            _MSGPACK.encode(value)
        except _MALFORMED as reason:
            return FormatError(f"cannot be encoded: {reason}", field=name, value=value,
                               remedy=f"see the {kind} fields in docs/events.md")  # fmt: skip
    return FormatError(f"cannot be encoded: {error}", field=kind)

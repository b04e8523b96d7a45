"""POST /v1/events: impressions and feedback from elsewhere, durable before they are acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.gateway.event_bodies import Parsed, parse_events
from serving.gateway.event_writer import EventWriter
from serving.gateway.impressions import encode_for_log
from serving.gateway.limits import LimitsConfig
from serving.gateway.metrics import Metrics
from serving.gateway.operations import Operation, json_response, read_body
from serving.gateway.spool_segments import Spooled
from serving.gateway.wire import BINARY, JSON, MSGPACK, NDJSON, EventsAnswer, EventsBody
from streams.contract.errors import FormatError, InputError, TooLargeError
from streams.contract.events import Feedback, Impression, Tick
from streams.log.event_log import MAX_RECORD_BYTES

_REMEMBERED_IDS = 100_000


class RecentIds:
    """The newest event ids taken; older ones are forgotten, and left to the join."""

    def __init__(self, capacity: int = _REMEMBERED_IDS) -> None:
        self._capacity = capacity
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, name: str) -> bool:
        return name in self._ids

    def add(self, names: Sequence[str]) -> None:
        """Remembers the names."""
        self._ids.update(dict.fromkeys(names))
        while len(self._ids) > self._capacity:
            self._ids.popitem(last=False)


@dataclass(slots=True)
class _Sorted:
    events: list[Impression | Feedback] = field(default_factory=list)
    records: list[Spooled] = field(default_factory=list)
    names: dict[str, None] = field(default_factory=dict)
    duplicates: int = 0
    rejected: list[dict[str, Any]] = field(default_factory=list)
    faults: list[InputError] = field(default_factory=list)


class EventsEndpoint:
    """Takes batches of events."""

    def __init__(self, writer: EventWriter, limits: LimitsConfig, metrics: Metrics) -> None:
        self._writer = writer
        self._limits = limits
        self._metrics = metrics
        self._recent = RecentIds()

    async def take(self, request: Request) -> Response:
        """202 once everything accepted is on disk, in the log or in the spool."""
        headers = dict(request.headers.raw)
        body = await read_body(request.receive, headers, self._limits)
        parsed = parse_events(body, request.headers.get("content-type", ""))
        found = self._sort(parsed)
        if parsed.single and found.rejected:
            raise found.faults[0]
        if found.events:
            await asyncio.wrap_future(self._writer.submit(found.events, found.records))
            self._recent.add(list(found.names))
        self._count(found)
        answer = {"accepted": len(found.events), "duplicates": found.duplicates, "rejected": found.rejected}
        return json_response(answer, status=202)

    def _sort(self, parsed: Parsed) -> _Sorted:
        found = _Sorted()
        now_ms = time.time_ns() // 1_000_000
        for index, event in enumerate(parsed.events):
            if not isinstance(event, InputError):
                name = f"{type(event).__name__[0]}{event.event_id}"
                if name in self._recent or name in found.names:
                    found.duplicates += 1
                    continue
                fault = self._prepared(event, found, name, now_ms)
            else:
                fault = event
            if fault is not None:
                found.faults.append(fault)
                found.rejected.append({"index": index, "error": fault.as_dict()})
        return found

    def _prepared(
        self, event: Impression | Feedback | Tick, found: _Sorted, name: str, now_ms: int
    ) -> InputError | None:
        """Adds the event to `found`, or says why it cannot be taken."""
        if isinstance(event, Tick):
            return FormatError("ticks are not taken over HTTP", field="type", value="tick",
                               remedy="use impression or feedback")  # fmt: skip
        event.ingest_ms = now_ms
        try:
            record = encode_for_log(event)
        except InputError as error:
            return error
        if len(record.key) + len(record.value) > MAX_RECORD_BYTES:
            return TooLargeError("does not fit one record of the log", field=event.event_id,
                                 value=f"{len(record.value)} bytes", remedy=f"at most {MAX_RECORD_BYTES}")  # fmt: skip
        found.events.append(event)
        found.records.append(record)
        found.names[name] = None
        return None

    def _count(self, found: _Sorted) -> None:
        for kind, type_ in (("impression", Impression), ("feedback", Feedback)):
            number = sum(1 for event in found.events if isinstance(event, type_))
            if number:
                self._metrics.events.labels(kind, "accepted").inc(number)
        if found.duplicates:
            self._metrics.events.labels("any", "duplicate").inc(found.duplicates)
        if found.rejected:
            self._metrics.events.labels("any", "rejected").inc(len(found.rejected))


def events_operations(endpoint: EventsEndpoint) -> list[Operation]:
    """The operations of this module."""
    return [
        Operation(
            method="POST", path="/v1/events", handler=endpoint.take, access="ingest", status=202,
            summary="Take impressions and feedback; idempotent by event_id; durable when answered.",
            body=EventsBody, answer=EventsAnswer, body_media=(JSON, NDJSON, MSGPACK, BINARY),
            errors={400: "Malformed body.", 413: "Body too large.", 422: "A single event that is not valid.",
                    429: "Too many events wait to be written.", 503: "Neither log nor spool can take them."},
        )
    ]  # fmt: skip

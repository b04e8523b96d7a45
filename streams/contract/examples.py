"""Labelled examples in columns: what the join emits and the trainer learns.

R requests were answered with E candidates in all. What belongs to the request (user, context)
stands once a request, what belongs to the ad once a candidate; `request_index` (E,) leads from
a candidate to its request. A session's repeated features are thus never repeated on the wire,
and the index is the inverse index of an inverse KeyedJaggedTensor (RecD, arXiv 2211.05239).

    request columns   user.age      [31, 57]            (R,)
    candidate columns campaign      [a, b, a, c, c]     (E,)
    request_index                   [0, 0, 0, 1, 1]     (E,)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from streams.contract.columns import Array, Column, concat, cut, pack, take, unpack
from streams.contract.encoding import decode_fields, encode_fields
from streams.contract.errors import FormatError
from streams.contract.misfit import misfit

_REQUEST_META = {"version": "<i8", "generation": "<i8", "event_time_ms": "<i8"}
_EXAMPLE_META = {
    "request_index": "<i4",
    "position": "<i4",
    "label": "<f4",
    "weight": "<f4",
    "predicted": "<f4",
    "propensity": "<f4",
    "true_probability": "<f4",
    "value": "<f4",
    "delay_ms": "<i8",
    "decided_ingest_ms": "<i8",
    "decided_time_ms": "<i8",
    "correction": "|b1",
}
_LATER_META = {"decided_time_ms": -1}
"""What records of before this field was written lack, and what stands for it."""
_REMEDY = "it was damaged or written by something else; see what writes to the examples topic"
_REQUEST_NAMES = ("impression_id", "unit_id", "session_id", "arm")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleBatch:
    """E labelled examples of R requests, for one kind of feedback.

    Unknown numbers are nan (predicted, propensity, true_probability) or -1 (position, delay_ms, decided_time_ms).
    `decided_ingest_ms` is the wall clock of the event that settled the label: the click itself,
    or the event that closed the window. `decided_time_ms` is the same on the data's clock: the newest event
    time that the join had seen by then, so never before the impression's. A `correction` changes the label
    of an example that was emitted before, under the same (impression_id, ad_id, kind).
    """

    kind: str
    # a request (R,)
    impression_id: list[str]
    unit_id: list[str]
    session_id: list[str]
    arm: list[str]
    version: Array
    generation: Array
    event_time_ms: Array
    request: dict[str, Column]
    # an example (E,)
    ad_id: list[str]
    request_index: Array
    position: Array
    label: Array
    weight: Array
    predicted: Array
    propensity: Array
    true_probability: Array
    value: Array
    delay_ms: Array
    decided_ingest_ms: Array
    decided_time_ms: Array
    correction: Array
    candidate: dict[str, Column]
    extra: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ad_id)

    @property
    def num_requests(self) -> int:
        return len(self.impression_id)

    def slice(self, start: int, stop: int) -> ExampleBatch:
        """Examples start to stop, with only the requests they name."""
        stop = min(stop, len(self))
        return self._picked(self.request_index[start:stop], lambda column: cut(column, start, stop))

    def take(self, rows: Array) -> ExampleBatch:
        """Examples `rows` (K,), in that order, with only the requests they name."""
        return self._picked(self.request_index[rows], lambda column: take(column, rows))

    def _picked(self, request_index: Array, pick: Callable[[Column], Column]) -> ExampleBatch:
        """The examples that `pick` takes of every column; `request_index` (K,) as it picks it."""
        requests, index = np.unique(request_index, return_inverse=True)
        per_request = {name: _some(getattr(self, name), requests) for name in (*_REQUEST_NAMES, *_REQUEST_META)}
        per_example = {name: pick(getattr(self, name)) for name in ("ad_id", *_EXAMPLE_META)}
        per_example["request_index"] = index.astype(np.int32)
        columns = {name: _some(column, requests) for name, column in self.request.items()}
        candidate = {name: pick(column) for name, column in self.candidate.items()}
        fields: dict[str, Any] = {**per_request, **per_example}
        return ExampleBatch(kind=self.kind, request=columns, candidate=candidate, extra=self.extra, **fields)


def _some(column: Column, rows: Array) -> Column:
    """The column at rising rows; a run of rows is cut out without copying arrays."""
    if len(rows) and int(rows[-1] - rows[0]) == len(rows) - 1:
        return cut(column, int(rows[0]), int(rows[-1]) + 1)
    return take(column, rows)


def concat_batches(batches: Sequence[ExampleBatch]) -> ExampleBatch:
    """The batches one after the other; they must be of one kind. A column that one lacks is None there."""
    if len(batches) == 1:
        return batches[0]
    assert len({batch.kind for batch in batches}) == 1
    starts = np.cumsum([0, *(batch.num_requests for batch in batches)])
    fields: dict[str, Any] = {
        name: concat([getattr(batch, name) for batch in batches])
        for name in (*_REQUEST_NAMES, *_REQUEST_META, "ad_id", *_EXAMPLE_META)
    }
    fields["request_index"] = np.concatenate(
        [batch.request_index + start for batch, start in zip(batches, starts, strict=False)]
    ).astype(np.int32)
    request = _concat_named([(batch.request, batch.num_requests) for batch in batches])
    candidate = _concat_named([(batch.candidate, len(batch)) for batch in batches])
    return ExampleBatch(kind=batches[0].kind, request=request, candidate=candidate, **fields)


def _concat_named(parts: Sequence[tuple[dict[str, Column], int]]) -> dict[str, Column]:
    names = dict.fromkeys(name for columns, _ in parts for name in columns)
    return {name: concat([columns.get(name, [None] * rows) for columns, rows in parts]) for name in names}


def encode_examples(batch: ExampleBatch) -> bytes:
    """The batch as one record of the `examples` topic."""
    fields: dict[str, Any] = {"kind": batch.kind, **batch.extra}
    for name in (*_REQUEST_NAMES, "ad_id"):
        fields[name] = getattr(batch, name)
    for name, dtype in {**_REQUEST_META, **_EXAMPLE_META}.items():
        fields[name] = np.ascontiguousarray(getattr(batch, name), dtype=dtype).tobytes()
    fields["request"] = {name: pack(column) for name, column in batch.request.items()}
    fields["candidate"] = {name: pack(column) for name, column in batch.candidate.items()}
    return encode_fields("examples", fields)


@dataclass(frozen=True, slots=True)
class Mark:
    """A beat that the join passes on from a tick: the trainer cuts its batch here; `final` ends the stream."""

    final: bool = False
    ingest_ms: int = 0


def encode_mark(mark: Mark) -> bytes:
    """The mark as one record of the `examples` topic."""
    return encode_fields("mark", {"final": mark.final, "ingest_ms": mark.ingest_ms})


def decode_examples(data: bytes) -> ExampleBatch | Mark:
    """A record of the `examples` topic. Raises FormatError naming what is missing or damaged."""
    kind, fields = decode_fields(data)
    if kind == "mark":
        return _mark(fields)
    if kind != "examples":
        raise FormatError("is not a record of the examples topic", field="header.kind", value=kind, remedy=_REMEDY)
    try:
        known: dict[str, Any] = {name: fields.pop(name) for name in (*_REQUEST_NAMES, "ad_id", "kind")}
        for name, unknown in _LATER_META.items():
            if name not in fields:
                fields[name] = np.full(len(known["ad_id"]), unknown, dtype=_EXAMPLE_META[name]).tobytes()
        for name, dtype in {**_REQUEST_META, **_EXAMPLE_META}.items():
            known[name] = np.frombuffer(fields.pop(name), dtype=dtype)
        known["request"] = {name: unpack(column) for name, column in fields.pop("request").items()}
        known["candidate"] = {name: unpack(column) for name, column in fields.pop("candidate").items()}
        known["kind"] = msgspec.convert(known["kind"], str)
        for name in (*_REQUEST_NAMES, "ad_id"):
            known[name] = msgspec.convert(known[name], list[str])
    except (KeyError, TypeError, ValueError, AttributeError, msgspec.ValidationError) as error:
        raise FormatError(f"damaged example batch: {error!r}", field="examples", remedy=_REMEDY) from error
    batch = ExampleBatch(extra=fields, **known)
    _check_lengths(batch)
    return batch


def _mark(fields: dict[str, Any]) -> Mark:
    try:
        return msgspec.convert({name: fields[name] for name in ("final", "ingest_ms") if name in fields}, Mark)
    except msgspec.ValidationError as error:
        what, field, value = misfit(error, fields)
        raise FormatError(what, field=f"mark.{field}", value=value, remedy=_REMEDY) from error


def _check_lengths(batch: ExampleBatch) -> None:
    requests, examples = batch.num_requests, len(batch)
    sizes = {name: (len(getattr(batch, name)), requests) for name in (*_REQUEST_NAMES, *_REQUEST_META)}
    sizes |= {name: (len(getattr(batch, name)), examples) for name in _EXAMPLE_META}
    sizes |= {f"request.{name}": (len(column), requests) for name, column in batch.request.items()}
    sizes |= {f"candidate.{name}": (len(column), examples) for name, column in batch.candidate.items()}
    for name, (got, expected) in sizes.items():
        if got != expected:
            raise FormatError(f"has {got} entries where {expected} are due", field=name, value=got, remedy=_REMEDY)
    index = batch.request_index
    if examples and (index.min() < 0 or index.max() >= requests):
        raise FormatError("leads to a request that is not there", field="request_index",
                          value=(int(index.min()), int(index.max())), remedy=_REMEDY)  # fmt: skip

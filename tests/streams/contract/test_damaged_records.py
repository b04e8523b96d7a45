"""Whatever bytes come in, only our own errors come out: records as they are, cut, overwritten, and made up."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.contract.bundles import bundle_layout, decode_bundles, encode_bundles
from streams.contract.columns import pack, unpack
from streams.contract.encoding import MAGIC, VERSION, decode_event, encode_event, encode_event_json
from streams.contract.errors import FormatError, FreshetError
from streams.contract.event_checks import check_event
from streams.contract.events import Event, Feedback, Impression, Tick
from streams.contract.examples import Mark, decode_examples, encode_examples, encode_mark
from streams.contract.manifest import (
    Generation,
    Manifest,
    ModelUpdate,
    Rows,
    UpdateAssembler,
    encode_update,
    unpack_tensor,
)
from streams.contract.rows import pack_rows, unpack_rows
from streams.contract.schema import parse_schema, schema_to_json
from streams.join.checks import admit
from streams.join.dead_letters import decode_dead_letter
from streams.store.values import from_json, pack_dense, unpack_dense
from tests.support.small_model import shared_schema
from tests.support.toy_examples import toy_batch

EVENTS: list[Event] = [
    Impression(
        event_id="i", event_time_ms=5, session_id="s", unit_id="u", ad_ids=["a", "b"], user={"n": 3, "l": ["x"]},
        candidates={"price": [1.5, None]}, positions=[1, 0], probabilities=[0.1, 0.2], extra={"newer": {"deep": [1]}},
    ),
    Feedback(event_id="f", event_time_ms=9, session_id="s", impression_id="i", ad_id="a", delay_ms=4),
    Tick(event_id="t", final=True),
]  # fmt: skip
DENSE = {"w": np.ones((2, 3), dtype=np.float32)}
UPDATE = ModelUpdate(
    Manifest(model="ads", version=2, parent=1, generation=1, feature_hash="0" * 16), DENSE,
    {"ad": Rows(np.array([1, 2]), np.ones((2, 4), dtype=np.float32))}, {"ad": np.array([3])},
)  # fmt: skip


def assemble(record: bytes) -> object:
    return UpdateAssembler().add(record)


def decode_and_use(record: bytes) -> None:
    event = decode_event(record)
    check_event(event)
    assert decode_event(encode_event(event)) == event


def use_examples(record: bytes) -> None:
    decoded = decode_examples(record)
    if not isinstance(decoded, Mark) and len(decoded):
        decoded.slice(0, 1)


def dense_of(packed: bytes) -> object:
    return unpack_dense(packed, "freshet:ads:1:dense")


def head_of(packed: bytes) -> object:
    return from_json(packed, Manifest, "freshet:ads:1:head")


CASES: list[tuple[Callable[[bytes], object], list[bytes]]] = [
    (decode_and_use, [encode(event) for event in EVENTS for encode in (encode_event, encode_event_json)]),
    (admit, [encode(event) for event in EVENTS for encode in (encode_event, encode_event_json)]),
    (use_examples, [encode_examples(toy_batch(2)), encode_mark(Mark(final=True))]),
    (assemble, encode_update(UPDATE)),
    (dense_of, [pack_dense(3, DENSE)]),
    (head_of, [msgspec.json.encode(UPDATE.manifest)]),
    (decode_dead_letter, [b"\x80"]),
]


@st.composite
def damaged(draw: st.DrawFn, records: list[bytes]) -> bytes:
    """One of the records, some of its bytes overwritten, some left out, and perhaps cut."""
    record = bytearray(draw(st.sampled_from(records)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(record) - 1))
        record[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
        if not record:
            break
    return bytes(record[: draw(st.one_of(st.none(), st.integers(0, len(record))))])


@pytest.mark.parametrize(("decode", "records"), CASES, ids=lambda case: getattr(case, "__name__", ""))
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_record_decodes_or_raises_format_error(
    decode: Callable[[bytes], object], records: list[bytes], data: st.DataObject
) -> None:
    with suppress(FormatError):
        decode(data.draw(damaged(records)))


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=3), st.binary(max_size=9)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)
FIELDS = [
    "type", "v", "event_id", "event_time_ms", "session_id", "unit_id", "ad_ids", "user", "candidates", "positions",
    "impression_id", "ad_id", "kind", "value", "clicked", "delay_seconds", "extra", "final", "ingest_ms", "part",
    "parts", "version", "generation", "bytes", "request", "candidate", "request_index", "label",
]  # fmt: skip


@pytest.mark.parametrize("decode", [case[0] for case in CASES])
@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(b"IFTEMUX"),
    version=st.integers(0, VERSION + 1),
    fields=st.dictionaries(st.sampled_from(FIELDS), VALUES),
)
def test_made_up_fields_decode_or_raise_format_error(
    decode: Callable[[bytes], object], kind: int, version: int, fields: dict[str, Any]
) -> None:
    with suppress(FormatError):
        decode(bytes((MAGIC, kind, version)) + msgspec.msgpack.encode(fields))
    with suppress(FormatError):
        decode(json.dumps({**fields, "type": fields.get("type", "feedback")}, default=repr).encode())


@pytest.mark.parametrize(
    "text",
    [
        b'{"type":["impression"]}',
        b'{"type":{}}',
        b'{"type":"tick","event_id":"\xff"}',
        b'{"type":"tick","extra":5,"x":1}',
        b"{" * 100_000,
        b'{"a":' * 100_000,
        b"\xf5F\x02" + b"\x91" * 100_000,
        b"\xf5F\x01\x81\xaddelay_seconds\xa1x",
    ],
    ids=["list-as-type", "map-as-type", "not-utf-8", "extra", "nested", "nested-maps", "nested-binary", "old-version"],
)  # fmt: skip
@pytest.mark.parametrize("decode", [decode_event, admit])
def test_hostile_event_raises_format_error_with_field_and_remedy(
    decode: Callable[[bytes], object], text: bytes
) -> None:
    with pytest.raises(FormatError) as caught:
        decode(text)
    assert caught.value.field
    assert caught.value.remedy


def test_number_that_the_binary_form_cannot_hold_is_refused_by_its_field() -> None:
    text = b'{"type":"tick","event_id":"t","newer":99999999999999999999999}'
    with pytest.raises(FormatError, match=r"newer: cannot be encoded.*999"):
        decode_event(text)


def test_extra_field_never_replaces_a_known_one() -> None:
    event = Tick(event_id="t", extra={"event_id": "other", "newer": 1})
    assert decode_event(encode_event(event)) == Tick(event_id="t", extra={"newer": 1})


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(st.binary(max_size=40), min_size=1, max_size=4), encoding=st.sampled_from(["fp32", "fp16", "int8"])
)
def test_rows_and_bundles_of_any_bytes_decode_or_raise_format_error(values: list[bytes], encoding: str) -> None:
    schema = shared_schema()
    generation = Generation(
        model="ads", generation=1, first_version=1, feature_hash=schema.hash, schema=schema_to_json(schema),
        tables=schema.tables, network={}, row_encoding=encoding,
    )  # fmt: skip
    with suppress(FormatError):
        unpack_rows(values, 4, encoding)
    with suppress(FormatError):
        decode_bundles(bundle_layout(generation), values)


def test_row_and_bundle_of_a_wrong_size_name_store_size_and_remedy() -> None:
    schema = shared_schema()
    row = pack_rows(1, np.ones((1, 4), dtype=np.float32))[0]
    with pytest.raises(FormatError, match=r"redis: a row of the store has not its 24 bytes \(got 23\)\. publish"):
        unpack_rows([row, row[:-1]], 4)
    layout = bundle_layout(Generation(
        model="ads", generation=1, first_version=1, feature_hash=schema.hash, schema=schema_to_json(schema),
        tables=schema.tables, network={},
    ))  # fmt: skip
    one = np.ones((1, layout.num_features), dtype=np.int64)
    rows = np.zeros((1, layout.num_features, 16), dtype=np.uint8)
    bundle = encode_bundles(layout, 1, one, one > 0, one < 0, rows)[0]
    with pytest.raises(FormatError, match="a bundle of the store"):
        decode_bundles(layout, [bundle + b"x"])


@settings(max_examples=300, deadline=None)
@given(packed=st.one_of(VALUES, st.fixed_dictionaries({"d": st.text(max_size=4), "b": st.binary(max_size=9)}),
                        st.fixed_dictionaries({"j": VALUES, "n": st.binary(max_size=9)})))  # fmt: skip
def test_columns_of_anything_unpack_or_raise_format_error(packed: Any) -> None:
    with suppress(FormatError):
        pack(unpack(packed))


@settings(max_examples=300, deadline=None)
@given(packed=st.fixed_dictionaries({
    "dtype": st.one_of(VALUES, st.sampled_from(["<f4", "O", "V0", "<M8", "<i8,<i8"])), "bytes": VALUES, "shape": VALUES
}))  # fmt: skip
def test_tensors_of_anything_unpack_or_raise_format_error(packed: Any) -> None:
    with suppress(FormatError):
        unpack_tensor(packed)


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet=st.sampled_from('[]{}=".,\n abcfeatursnmkindcopx01'), max_size=60))
def test_schema_of_any_text_parses_or_raises_our_own_error(text: str) -> None:
    with suppress(FreshetError):
        parse_schema(text)

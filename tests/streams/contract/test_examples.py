"""Example batches survive bytes, slicing and concatenation without a change to any example."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.contract.columns import Column, Jagged, column_from_values, concat, pack, take, to_values, unpack
from streams.contract.encoding import decode_fields, encode_fields
from streams.contract.errors import FormatError
from streams.contract.examples import (
    ExampleBatch,
    Mark,
    concat_batches,
    decode_examples,
    encode_examples,
    encode_mark,
)

VALUES = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1)),
    st.lists(st.floats(allow_nan=False)),
    st.lists(st.one_of(st.none(), st.text(), st.integers(0, 9))),
    st.lists(st.lists(st.integers(0, 9))),
    st.lists(st.lists(st.text())),
)


def example_batch(candidates_of_request: list[int], start: int = 0) -> ExampleBatch:
    """One batch with the given number of candidates for each request; every value tells where it belongs."""
    requests, total = len(candidates_of_request), sum(candidates_of_request)
    index = np.repeat(np.arange(requests), candidates_of_request).astype(np.int32)
    names = [f"i{start + n}" for n in range(requests)]
    zeros: dict[str, Any] = {
        name: np.zeros(total, dtype=np.float32) for name in ("predicted", "propensity", "true_probability", "value")
    }
    return ExampleBatch(
        kind="click",
        impression_id=names, unit_id=names, session_id=names, arm=["default"] * requests,
        version=np.zeros(requests, dtype=np.int64), generation=np.zeros(requests, dtype=np.int64),
        event_time_ms=np.arange(requests) + start,
        request={"user": list(names), "age": np.arange(requests) + start,
                 "likes": column_from_values([[n] * (n % 3) for n in range(requests)])},
        ad_id=[f"{names[r]}/{n}" for n, r in enumerate(index)],
        request_index=index, position=np.arange(total, dtype=np.int32),
        label=(np.arange(total) % 2).astype(np.float32), weight=np.ones(total, dtype=np.float32),
        delay_ms=np.full(total, -1, dtype=np.int64), decided_ingest_ms=np.arange(total, dtype=np.int64),
        decided_time_ms=np.arange(total, dtype=np.int64) + 7,
        correction=np.zeros(total, dtype=np.bool_), candidate={"price": np.arange(total) / 2}, **zeros,
    )  # fmt: skip


def as_rows(batch: ExampleBatch) -> list[dict[str, Any]]:
    """Every example with its request's values, as plain Python."""
    request = {name: to_values(column) for name, column in batch.request.items()}
    candidate = {name: to_values(column) for name, column in batch.candidate.items()}
    return [
        {
            "impression": batch.impression_id[r], "ad": batch.ad_id[n], "label": float(batch.label[n]),
            "time": int(batch.event_time_ms[r]), "ingest": int(batch.decided_ingest_ms[n]),
            "decided": int(batch.decided_time_ms[n]),
            **{name: values[r] for name, values in request.items()},
            **{name: values[n] for name, values in candidate.items()},
        }
        for n, r in enumerate(batch.request_index.tolist())
    ]  # fmt: skip


@given(VALUES)
def test_any_column_through_bytes_comes_back_equal(values: list[Any]) -> None:
    assert to_values(unpack(pack(column_from_values(values)))) == values


@given(VALUES, st.data())
def test_take_from_any_column_equals_indexing(values: list[Any], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(values) - 1))) if values else []
    column: Column = column_from_values(values)
    assert to_values(take(column, np.array(rows, dtype=np.int64))) == [values[row] for row in rows]


@given(VALUES, VALUES)
def test_concat_of_columns_equals_concatenation(left: list[Any], right: list[Any]) -> None:
    joined = concat([column_from_values(left), column_from_values(right)])
    assert to_values(joined) == left + right


def test_batch_through_bytes_comes_back_equal() -> None:
    batch = example_batch([3, 1, 0, 2])
    again = decode_examples(encode_examples(batch))
    assert isinstance(again, ExampleBatch)
    assert as_rows(again) == as_rows(batch)


def test_record_of_before_decided_times_were_written_has_them_unknown() -> None:
    kind, fields = decode_fields(encode_examples(example_batch([2, 1])))
    del fields["decided_time_ms"]
    again = decode_examples(encode_fields(kind, fields))
    assert isinstance(again, ExampleBatch)
    assert again.decided_time_ms.tolist() == [-1, -1, -1]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.integers(1, 5))
def test_slices_put_together_equal_the_whole(candidates: list[int], size: int) -> None:
    batch = example_batch(candidates)
    slices = [batch.slice(at, at + size) for at in range(0, len(batch), size)]
    if slices:
        assert as_rows(concat_batches(slices)) == as_rows(batch)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_taken_examples_come_in_their_order_with_their_own_requests(candidates: list[int], random: Any) -> None:
    batch = example_batch(candidates)
    rows = random.choices(range(len(batch)), k=7) if len(batch) else []
    taken = batch.take(np.array(rows, dtype=np.int64))
    assert as_rows(taken) == [as_rows(batch)[row] for row in rows]
    assert taken.num_requests == len({batch.impression_id[batch.request_index[row]] for row in rows})


def test_column_that_one_batch_lacks_is_none_there() -> None:
    left, right = example_batch([1]), example_batch([1], start=5)
    del right.candidate["price"]
    assert [row["price"] for row in as_rows(concat_batches([left, right]))] == [0.0, None]


def test_mark_through_bytes_comes_back_equal() -> None:
    assert decode_examples(encode_mark(Mark(final=True, ingest_ms=7))) == Mark(final=True, ingest_ms=7)


def test_truncated_batch_is_refused_at_every_length() -> None:
    data = encode_examples(example_batch([2, 1]))
    for length in range(0, len(data), 7):
        with pytest.raises(FormatError):
            decode_examples(data[:length])


def test_batch_with_a_short_column_is_refused_by_name() -> None:
    batch = example_batch([2])
    batch.candidate["price"] = [1.0]
    with pytest.raises(FormatError) as caught:
        decode_examples(encode_examples(batch))
    assert caught.value.field == "candidate.price"


def test_jagged_column_has_one_entry_a_row() -> None:
    assert len(Jagged(np.arange(3), np.array([1, 2], dtype=np.int32))) == 2

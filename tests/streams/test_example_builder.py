"""Columns from impressions and labels."""

from __future__ import annotations

import numpy as np

from streams.contract.columns import to_values
from streams.contract.examples import ExampleBatch, decode_examples, encode_examples
from streams.join.example_builder import Emission, Given, build_batch
from tests.support.joining import impression


def test_emissions_become_requests_and_candidates() -> None:
    first = impression("i", 5, "abc", candidates={"x": [1, 2, 3]}, positions=[2, 1, 0], user={"age": 9})
    second = impression("j", 6, "d", candidates={"y": ["q"]}, context={"hour": 3}, probabilities=[0.5])
    batch = build_batch(
        [
            Emission(
                kind="click", impression=first, num_bytes=1, rows=[0, 2], decided_ingest_ms=7, given={2: Given(4.0, 8)}
            ),
            Emission(kind="click", impression=second, num_bytes=1, rows=[0], decided_ingest_ms=9, correction=True),
        ]
    )
    assert batch.ad_id == ["a", "c", "d"]
    assert batch.impression_id == ["i", "j"]
    assert batch.request_index.tolist() == [0, 0, 1]
    assert batch.label.tolist() == [0, 1, 0]
    assert batch.value.tolist() == [0, 4, 0]
    assert batch.delay_ms.tolist() == [-1, 8, -1]
    assert batch.position.tolist() == [2, 0, -1]
    assert batch.decided_ingest_ms.tolist() == [7, 7, 9]
    assert batch.correction.tolist() == [False, False, True]
    np.testing.assert_array_equal(batch.predicted, np.array([np.nan, np.nan, 0.5], dtype=np.float32))
    assert {name: to_values(column) for name, column in batch.candidate.items()} == {
        "x": [1, 3, None],
        "y": [None, None, "q"],
    }
    assert {name: to_values(column) for name, column in batch.request.items()} == {"age": [9, None], "hour": [None, 3]}


def test_batch_keeps_its_form_over_the_wire() -> None:
    shown = impression("i", 5, "abc", candidates={"x": [1, 2, 3], "bag": [["p"], [], ["q", "r"]]}, user={"age": 9.5})
    built = build_batch([Emission(kind="click", impression=shown, num_bytes=1, rows=range(3), decided_ingest_ms=7)])
    decoded = decode_examples(encode_examples(built))
    assert isinstance(decoded, ExampleBatch)
    assert to_values(decoded.candidate["bag"]) == [["p"], [], ["q", "r"]]
    assert encode_examples(decoded) == encode_examples(built)


def test_feature_of_user_and_context_is_taken_from_the_user() -> None:
    shown = impression("i", 5, "a", user={"n": 1}, context={"n": 2})
    batch = build_batch([Emission(kind="click", impression=shown, num_bytes=1, rows=[0], decided_ingest_ms=0)])
    assert to_values(batch.request["n"]) == [1]

"""Bundles as bytes, and row encodings that stay what they are when encoded again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from streams.contract.bundles import bundle_keys, bundle_layout, bundled_features, decode_bundles, encode_bundles
from streams.contract.columns import Array
from streams.contract.rows import decode_rows, encode_rows, pack_rows, pack_tombstones, row_bytes, unpack_rows
from tests.support.generations import AD_KEYS, DIM, SCHEMA, generation

ENCODINGS = ["fp32", "fp16", "int8"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(arrays.arrays(np.float32, st.tuples(st.integers(0, 5), st.just(DIM)),
                     elements=st.floats(-60000, 60000, width=32)))  # fmt: skip
def test_decoded_rows_encode_to_the_same_bytes(encoding: str, values: Array) -> None:
    packed = encode_rows(values, encoding)
    assert packed.shape == (len(values), row_bytes(DIM, encoding))
    assert (encode_rows(decode_rows(packed, DIM, encoding), encoding) == packed).all()


@given(arrays.arrays(np.float32, (3, DIM), elements=st.floats(-1e4, 1e4, width=32)))
def test_int8_rows_are_off_by_at_most_half_a_step(values: Array) -> None:
    error = np.abs(decode_rows(encode_rows(values, "int8"), DIM, "int8") - values).max(axis=1)
    assert (error <= np.abs(values).max(axis=1) / 127 * 0.51 + 1e-30).all()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_row_values_carry_version_and_tombstones_are_no_rows(encoding: str) -> None:
    values = np.array([[1.0, -2.0, 0.0, 0.5]], dtype=np.float32)
    packed = pack_rows(7, values, encoding) + pack_tombstones(9, 1, DIM, encoding)
    versions, present, rows = unpack_rows(packed, DIM, encoding)
    assert versions.tolist() == [7, 9]
    assert present.tolist() == [True, False]
    np.testing.assert_allclose(rows[0], values[0], atol=0.02)


def test_bundles_hold_the_single_valued_ad_features_and_no_crosses() -> None:
    assert tuple(key.name for key in bundled_features(SCHEMA)) == AD_KEYS
    assert bundle_layout(generation()).tables.tolist() == [1, 2, 4]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_bundle_round_trip_keeps_ids_masks_and_included_rows_alone(encoding: str) -> None:
    layout = bundle_layout(generation(encoding=encoding))
    random = np.random.default_rng(3)
    ids = random.integers(-(2**63), 2**63 - 1, (5, 3))
    included = random.random((5, 3)) < 0.5
    absent = ~included & (random.random((5, 3)) < 0.5)
    rows = encode_rows(random.normal(size=(15, DIM)).astype(np.float32), encoding)
    decoded = decode_bundles(layout, encode_bundles(layout, 12, ids, included, absent, rows.reshape(5, 3, -1)))
    assert decoded.versions.tolist() == [12] * 5
    assert (decoded.ids == ids).all()
    assert (decoded.included == included).all()
    assert (decoded.absent == absent).all()
    expected = decode_rows(rows, DIM, encoding).reshape(5, 3, DIM) * included[:, :, None]
    assert (decoded.rows == expected).all()


def test_bundle_key_depends_on_the_order_of_the_ids() -> None:
    keys = bundle_keys(np.array([[1, 2, 3], [3, 2, 1], [1, 2, 3]]))
    assert keys[0] == keys[2] != keys[1]

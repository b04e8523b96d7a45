"""The tensors of the ranker: what is packed comes back, and nothing else gets through."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.contract.columns import Array
from streams.contract.errors import FormatError, TooLargeError
from streams.contract.features import FeatureBatch, Side
from streams.contract.schema import Feature, Schema
from streams.contract.wire import (
    FLAG_NAMES,
    INPUTS,
    MAX_CANDIDATES,
    Info,
    Widths,
    feature_hash_of,
    hash_number,
    info_from,
    is_probe,
    pack_probe,
    pack_request,
    unpack_request,
    widths_of,
)

WIDTHS = Widths(request_dense=2, request_keys=3, candidate_dense=1, candidate_keys=2)
HASH = "fedcba9876543210"


def batch_of(num_candidates: int, widths: Widths = WIDTHS, *, bag: int = 2) -> FeatureBatch:
    """A request whose bags hold `bag` ids each."""
    return FeatureBatch(
        _side(1, widths.request_dense, widths.request_keys, bag),
        _side(num_candidates, widths.candidate_dense, widths.candidate_keys, bag),
        np.zeros(num_candidates, dtype=np.int32),
    )


def _side(rows: int, num_dense: int, num_keys: int, bag: int) -> Side:
    rng = np.random.default_rng(rows)
    return Side(
        rng.normal(size=(rows, num_dense)).astype(np.float32),
        rng.integers(-(2**62), 2**62, size=num_keys * rows * bag),
        np.full((num_keys, rows), bag, dtype=np.int32),
    )


@given(st.integers(1, 5), st.integers(0, 3), st.integers(0, 2), st.integers(0, 3), st.integers(0, 2), st.integers(0, 3))
def test_packed_request_comes_back_whole(e: int, n_r: int, f_r: int, n_c: int, f_c: int, bag: int) -> None:
    widths = Widths(request_dense=n_r, request_keys=f_r, candidate_dense=n_c, candidate_keys=f_c)
    batch = batch_of(e, widths, bag=bag)
    tensors = pack_request(batch, HASH)
    assert list(tensors) == list(INPUTS)
    assert all(tensor.ndim == 2 and len(tensor) == 1 and tensor.size for tensor in tensors.values())
    back = unpack_request(tensors, widths)
    for side, same in ((batch.request, back.request), (batch.candidate, back.candidate)):
        np.testing.assert_array_equal(side.dense, same.dense)
        np.testing.assert_array_equal(side.ids, same.ids)
        np.testing.assert_array_equal(side.lengths, same.lengths)
    assert len(back.request_index) == e


def test_hash_travels_as_a_signed_number() -> None:
    tensors = pack_request(batch_of(1), HASH)
    assert feature_hash_of(tensors) == hash_number(HASH) == 0xFEDCBA9876543210 - 2**64


def test_probe_is_a_request_for_info_alone() -> None:
    assert is_probe(pack_probe())
    assert not is_probe(pack_request(batch_of(1), HASH))


def test_info_comes_back_with_its_flags_as_words() -> None:
    info = Info(7, 2, 1_700_000_000_000, 5, 1 | 4, 3)
    assert info_from(info.as_array()) == info
    assert info.flag_names == ["store_unavailable", "stale_updates"]
    assert len(FLAG_NAMES) == 3


def test_widths_count_both_sides_of_the_schema() -> None:
    schema = Schema(
        name="s",
        features=(
            Feature(name="u", scope="user", kind="categorical"),
            Feature(name="c", scope="context", kind="dense", dtype="float"),
            Feature(name="a", scope="ad", kind="categorical"),
            Feature(name="b", scope="ad", kind="multivalued"),
        ),
    )
    assert widths_of(schema) == Widths(request_dense=1, request_keys=1, candidate_dense=0, candidate_keys=2)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("candidate_ids", np.zeros((1, 3), dtype=np.int64)),
        ("candidate_lengths", np.zeros((1, 3), dtype=np.int32)),
        ("candidate_lengths", np.array([[-1, 3, 2, 2]], dtype=np.int32)),
        ("request_dense", np.zeros((1, 2), dtype=np.float64)),
        ("request_dense", np.array([[1.0, np.nan]], dtype=np.float32)),
        ("candidate_dense", np.zeros((1, 5), dtype=np.float32)),
        ("num_candidates", np.array([[-1]], dtype=np.int32)),
    ],
    ids=["too few ids", "too few lengths", "negative length", "wrong type", "not finite", "too many", "negative"],
)
def test_tensor_that_does_not_fit_raises_format_error_naming_it(name: str, tensor: Array) -> None:
    with pytest.raises(FormatError) as caught:
        unpack_request(pack_request(batch_of(2), HASH) | {name: tensor}, WIDTHS)
    assert caught.value.field == name


def test_missing_tensor_raises_format_error_naming_it() -> None:
    tensors = pack_request(batch_of(2), HASH)
    del tensors["request_ids"]
    with pytest.raises(FormatError, match="request_ids"):
        unpack_request(tensors, WIDTHS)


def test_too_many_candidates_raise_too_large_error() -> None:
    tensors = pack_request(batch_of(1), HASH) | {"num_candidates": np.array([[MAX_CANDIDATES + 1]], dtype=np.int32)}
    with pytest.raises(TooLargeError, match="num_candidates"):
        unpack_request(tensors, WIDTHS)

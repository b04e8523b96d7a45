"""A version survives its parts; rows survive their encodings."""

from __future__ import annotations

import numpy as np
import pytest

from streams.contract.errors import FormatError
from streams.contract.manifest import Manifest, ModelUpdate, Rows, UpdateAssembler, assemble, encode_update
from streams.contract.rows import decode_rows, encode_rows, row_bytes, row_fields


def update(version: int, size: int) -> ModelUpdate:
    manifest = Manifest(model="ads", version=version, parent=version - 1, generation=1, feature_hash="f")
    rows = Rows(np.arange(3), np.full((3, 4), version, dtype=np.float32))
    dense = {"weight": np.full((size, 2), version, dtype=np.float32)}
    return ModelUpdate(manifest, dense, {"item": rows}, {"item": np.array([9])})


@pytest.mark.parametrize("size", [1, 400_000])
def test_version_in_one_or_many_parts_comes_back_equal(size: int) -> None:
    records = encode_update(update(7, size))
    assert (len(records) > 1) == (size > 1)
    assert max(map(len, records)) < 1_000_000
    (again,) = assemble(records)
    assert again.manifest == update(7, size).manifest
    assert np.array_equal(again.dense["weight"], update(7, size).dense["weight"])
    assert np.array_equal(again.rows["item"].values, update(7, size).rows["item"].values)
    assert again.tombstones["item"].tolist() == [9]


def test_version_with_a_missing_part_is_refused() -> None:
    first, _, *rest = encode_update(update(7, 400_000))
    assembler = UpdateAssembler()
    assert assembler.add(first) is None
    with pytest.raises(FormatError, match="part of the version is missing"):
        assembler.add(rest[0])


@pytest.mark.parametrize(("encoding", "error"), [("fp32", 0.0), ("fp16", 1e-3), ("int8", 1 / 127)])
def test_rows_through_an_encoding_stay_within_its_error(encoding: str, error: float) -> None:
    values = np.random.default_rng(0).uniform(-1, 1, (50, 16)).astype(np.float32)
    packed = encode_rows(values, encoding)
    assert packed.shape == (50, row_bytes(16, encoding))
    assert np.abs(decode_rows(packed, 16, encoding) - values).max() <= error


def test_row_fields_are_ten_bytes_and_distinct() -> None:
    fields = row_fields(1, np.array([1, -1])) + row_fields(2, np.array([1, -1]))
    assert {len(field) for field in fields} == {10}
    assert len(set(fields)) == 4

"""The map of logits that travels with a version: its arithmetic, its order, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streams.contract.calibration import CalibrationMap, calibration_from, segment_places
from streams.contract.columns import Array
from streams.contract.errors import FormatError
from streams.contract.features import FeatureBatch, Side
from streams.contract.manifest import Manifest, ModelUpdate, assemble, encode_update
from tests.support.toy_examples import toy_schema

KNOTS = np.linspace(-4.0, 2.0, 13).astype(np.float32)


def map_of(*shifts: Array, segments: tuple[int, ...] = (), key: int = -1) -> CalibrationMap:
    return CalibrationMap(KNOTS, np.stack(shifts).astype(np.float32), np.array(segments, dtype=np.int64), key)


def wave(scale: float) -> Array:
    return scale * np.sin(KNOTS)


def batch_of(users: list[int], request_index: list[int]) -> FeatureBatch:
    """Requests of the toy schema with one history entry each."""
    number = len(users)
    ids = np.array([*users, *[7] * number], dtype=np.int64)
    request = Side(np.zeros((number, 1), dtype=np.float32), ids, np.ones((2, number), dtype=np.int32))
    none = Side(np.zeros((len(request_index), 1), dtype=np.float32), np.zeros(0, dtype=np.int64),
                np.zeros((2, len(request_index)), dtype=np.int32))  # fmt: skip
    return FeatureBatch(request, none, np.array(request_index, dtype=np.int32))


def test_shift_is_linear_between_knots_and_constant_beyond() -> None:
    logit = np.array([-30.0, -4.0, -1.2, 0.3, 2.0, 40.0], dtype=np.float32)
    expected = logit + np.interp(logit, KNOTS, wave(0.5))
    np.testing.assert_allclose(map_of(wave(0.5))(logit, np.zeros(6, dtype=np.int64)), expected, rtol=1e-6)


def test_ranking_within_a_request_stays() -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(-1, 2, 500).astype(np.float32)
    mapped = map_of(wave(0.9), wave(-0.4), segments=(5,), key=0).of_batch(batch_of([5], [0] * 500), logit)
    assert np.argsort(mapped, kind="stable").tolist() == np.argsort(logit, kind="stable").tolist()


def test_segments_have_their_own_shifts_and_others_the_common_one() -> None:
    own = map_of(np.full(13, 0.1), np.full(13, -0.5), np.full(13, 0.7), segments=(-3, 5), key=0)
    mapped = own.of_batch(batch_of([5, 6, -3], [0, 0, 1, 2]), np.zeros(4, dtype=np.float32))
    np.testing.assert_allclose(mapped, [0.7, 0.7, 0.1, -0.5], rtol=1e-6)


def test_map_travels_with_a_version_bit_for_bit() -> None:
    sent = map_of(wave(0.3), wave(0.2), segments=(9,), key=0)
    manifest = Manifest(model="m", version=1, parent=0, generation=1, feature_hash="")
    (update,) = assemble(encode_update(ModelUpdate(manifest, {"w": np.ones(2, dtype=np.float32), **sent.tensors()})))
    came = calibration_from(update.dense, toy_schema())
    assert came is not None
    assert came.key == 0
    for name in ("knots", "shifts", "segments"):
        np.testing.assert_array_equal(getattr(came, name), getattr(sent, name))


def test_version_without_a_map_has_none() -> None:
    assert calibration_from({"w": np.ones(2)}, toy_schema()) is None


def test_segments_are_single_valued_keys_of_the_request() -> None:
    assert list(segment_places(toy_schema()).values()) == ["user"]


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("knots", KNOTS[::-1].copy()),
        ("knots", np.zeros(13, dtype=np.float32)),
        ("shifts", np.zeros((2, 13), dtype=np.float32)),
        ("shifts", -2.0 * KNOTS[None]),
        ("shifts", np.full((1, 13), np.nan, dtype=np.float32)),
        ("segments", np.zeros(0, dtype=np.float32)),
        ("key", np.array([1])),
        ("key", np.array(0)),
    ],
)
def test_map_that_does_not_rise_or_fit_is_refused_by_name(part: str, value: Any) -> None:
    tensors = {**map_of(wave(0.1)).tensors(), f"calibration.{part}": value}
    with pytest.raises(FormatError, match=rf"calibration\.{part}"):
        calibration_from(tensors, toy_schema())


def test_map_with_a_part_missing_is_refused_by_name() -> None:
    tensors = map_of(wave(0.1)).tensors()
    del tensors["calibration.shifts"]
    with pytest.raises(FormatError, match=r"calibration\.shifts"):
        calibration_from(tensors, toy_schema())

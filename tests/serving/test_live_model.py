"""One request's values as a served model transforms them: numbers packed, their types still looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from serving.gateway.live_model import ServedModel
from streams.contract.errors import InputError
from streams.contract.features import FeatureTransform
from streams.contract.schema import Feature, Schema

SCHEMA = Schema(
    name="s",
    features=(
        Feature(name="place", scope="ad", kind="categorical", dtype="int"),
        Feature(name="price", scope="ad", kind="dense", dtype="float"),
    ),
)


@pytest.mark.parametrize(
    ("places", "prices"),
    [
        ([1, 2, 3], [0.5, 1.0, 2.5]),
        ([0, 1, -(2**63)], [0, 1, 2]),
        ([7, None, 9], [0.5, None, 1]),
        ([7.0, 8.0, 2.0**40], [1, 0.25, 2**60 + 1]),
    ],
    ids=["packed", "all integers", "some missing", "whole floats"],
)
def test_columns_of_a_request_give_what_plain_lists_give(places: list[Any], prices: list[Any]) -> None:
    columns = {"place": places, "price": prices}
    served = ServedModel(1, SCHEMA).transform({}, {}, {"ad_id": ["a", "b", "c"], **columns}, 3)
    plain = FeatureTransform(SCHEMA)({}, columns, np.zeros(3, dtype=np.int32), num_requests=1)
    np.testing.assert_array_equal(served.candidate.ids, plain.candidate.ids)
    np.testing.assert_array_equal(served.candidate.dense, plain.candidate.dense)


@pytest.mark.parametrize("wrong", [True, "8", [8], 2**63, 8.5], ids=["true", "text", "list", "too large", "fraction"])
def test_value_that_is_no_integer_raises_input_error_naming_its_feature(wrong: object) -> None:
    with pytest.raises(InputError) as caught:
        ServedModel(1, SCHEMA).transform({}, {}, {"ad_id": ["a", "b"], "place": [7, wrong]}, 2)
    assert caught.value.field == "place"


@pytest.mark.parametrize("wrong", [False, "0.5", {}], ids=["false", "text", "map"])
def test_value_that_is_no_number_raises_input_error_naming_its_feature(wrong: object) -> None:
    with pytest.raises(InputError) as caught:
        ServedModel(1, SCHEMA).transform({}, {}, {"ad_id": ["a", "b"], "price": [0.5, wrong]}, 2)
    assert caught.value.field == "price"

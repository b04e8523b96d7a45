"""Features taken together give what they give one by one, and errors name the one at fault."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.contract.alike import alike, dense_values, single_ids
from streams.contract.columns import Column, column_from_values
from streams.contract.errors import InputError
from streams.contract.schema import Feature
from streams.contract.values import MISSING_ID, dense_of, ids_of

ROWS = 2
SINGLES = [
    Feature(name="s1", scope="ad", kind="categorical"),
    Feature(name="s2", scope="ad", kind="categorical"),
    Feature(name="lower1", scope="ad", kind="categorical", transforms=("lower",)),
    Feature(name="lower2", scope="ad", kind="categorical", transforms=("lower",)),
    Feature(name="i1", scope="ad", kind="categorical", dtype="int"),
    Feature(name="i2", scope="ad", kind="categorical", dtype="int"),
]
NUMBERS = [
    Feature(name="plain1", scope="ad", kind="dense", dtype="float"),
    Feature(name="plain2", scope="ad", kind="dense", dtype="float"),
    Feature(name="other", scope="ad", kind="dense", dtype="float", default=2.5),
    Feature(name="log1", scope="ad", kind="dense", dtype="float", transforms=("log1p",)),
    Feature(name="log2", scope="ad", kind="dense", dtype="float", transforms=("log1p",)),
]
WHOLE = st.integers(-(2**62), 2**62)


def columns_of(features: list[Feature], values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Column]]:
    """Some of the features' columns, packed or as lists."""
    lists = st.lists(values, min_size=ROWS, max_size=ROWS)
    return st.fixed_dictionaries({}, optional={f.name: lists | lists.map(column_from_values) for f in features})


@given(columns_of(SINGLES[:4], st.none() | st.text()), columns_of(SINGLES[4:], st.none() | WHOLE | st.just(4.0)))
def test_ids_together_are_those_of_each_feature_alone(texts: dict[str, Column], whole: dict[str, Column]) -> None:
    columns = {**texts, **whole}
    found = single_ids(alike(SINGLES), columns, ROWS)
    for feature in SINGLES:
        column: Any = columns.get(feature.name)
        expected = [MISSING_ID] * ROWS if column is None else ids_of(feature, column).tolist()
        assert found[feature.name].tolist() == expected


@given(columns_of(NUMBERS, st.none() | st.floats(-1e6, 1e6) | st.integers(-(2**40), 2**40)))
def test_numbers_together_are_those_of_each_feature_alone(columns: dict[str, Column]) -> None:
    found = dense_values(alike(NUMBERS), columns, ROWS)
    for feature in NUMBERS:
        column: Any = columns.get(feature.name, [None] * ROWS)
        assert found[feature.name].tolist() == dense_of(feature, column).tolist()
        assert found[feature.name].dtype == np.float32


@pytest.mark.parametrize(
    ("features", "columns", "field"),
    [(SINGLES, {"s1": ["a", "b"], "s2": ["a", 3]}, "s2"), (SINGLES, {"i1": [1, 2], "i2": [1.5, 2]}, "i2"),
     (SINGLES, {"lower1": ["A", "B"], "lower2": [True, "b"]}, "lower2"),
     (SINGLES, {"i1": [2**70, 1], "i2": [1, 2]}, "i1"), (SINGLES, {"i1": [1, 2], "i2": [1, 2.0**63]}, "i2")],
)  # fmt: skip
def test_value_of_the_wrong_type_is_named_though_taken_together(
    features: list[Feature], columns: dict[str, Column], field: str
) -> None:
    with pytest.raises(InputError) as refused:
        single_ids(alike(features), columns, ROWS)
    assert refused.value.field == field


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "1", True, [1.0]])
def test_number_that_is_none_is_named_though_taken_together(bad: Any) -> None:
    with pytest.raises(InputError, match="entry 1") as refused:
        dense_values(alike(NUMBERS), {"plain1": [1.0, 2.0], "plain2": [1.0, bad]}, ROWS)
    assert refused.value.field == "plain2"

"""The one transform: the same value gives the same id everywhere, and bad values are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from streams.contract.columns import column_from_values
from streams.contract.errors import InputError
from streams.contract.features import FeatureBatch, FeatureTransform
from streams.contract.schema import load_schema, parse_schema, schema_from_json, schema_to_json
from streams.contract.values import MISSING_ID

SCHEMAS = Path(__file__).parents[3] / "streams" / "schemas"
SCHEMA_TEXT = """
name = "ads"
features = [
  {name = "user_id", scope = "user", kind = "categorical", dim = 4},
  {name = "history", scope = "user", kind = "sequence", table = "item", dim = 4, max_length = 2},
  {name = "age", scope = "user", kind = "dense", dtype = "float", transforms = ["clip:0:100"], default = 30.0},
  {name = "hour", scope = "context", kind = "categorical", dtype = "int", dim = 4},
  {name = "item", scope = "ad", kind = "categorical", dim = 4, transforms = ["lower"]},
  {name = "price", scope = "ad", kind = "dense", dtype = "float", transforms = ["log1p"]},
]
crosses = [{name = "user_item", features = ["user_id", "item"], dim = 4}]
"""


def transform(request: dict[str, Any], candidate: dict[str, Any], index: list[int]) -> FeatureBatch:
    """Two requests through the test schema."""
    return FeatureTransform(parse_schema(SCHEMA_TEXT))(
        {name: column_from_values(values) for name, values in request.items()},
        {name: column_from_values(values) for name, values in candidate.items()},
        np.array(index, dtype=np.int32),
        num_requests=2,
    )


REQUEST: dict[str, list[Any]] = {
    "user_id": ["u", None],
    "history": [["A", "B", "C"], []],
    "age": [150.0, None],
    "hour": [3, 4],
}
CANDIDATE: dict[str, list[Any]] = {"item": ["a", "B", "b"], "price": [0.0, 1.0, 3]}


def test_batch_has_the_shapes_of_both_sides() -> None:
    batch = transform(REQUEST, CANDIDATE, [0, 0, 1])
    assert batch.request.dense.tolist() == [[100.0], [30.0]]
    assert batch.request.lengths.tolist() == [[1, 1], [2, 0], [1, 1]]
    assert np.allclose(batch.candidate.dense[:, 0], np.log1p([0, 1, 3]))
    assert batch.candidate.lengths.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_missing_value_has_the_reserved_id() -> None:
    batch = transform(REQUEST, CANDIDATE, [0, 0, 1])
    assert batch.request.ids[1] == MISSING_ID
    assert transform({}, CANDIDATE, [0, 0, 1]).request.ids.tolist() == [MISSING_ID] * 4


def test_lowered_strings_share_an_id_and_others_do_not() -> None:
    items = transform(REQUEST, CANDIDATE, [0, 0, 1]).candidate.ids[:3]
    assert items[1] == items[2] != items[0]


def test_history_keeps_the_newest_of_too_many() -> None:
    whole = transform(REQUEST, CANDIDATE, [0, 0, 1]).request.ids
    newest = transform({**REQUEST, "history": [["B", "C"], []]}, CANDIDATE, [0, 0, 1]).request.ids
    assert whole.tolist() == newest.tolist()


def test_cross_depends_on_both_parts_and_on_the_request_of_the_candidate() -> None:
    crossed = transform(REQUEST, CANDIDATE, [0, 0, 1]).candidate.ids[3:]
    assert len(set(crossed.tolist())) == 3
    moved = transform(REQUEST, CANDIDATE, [0, 0, 0]).candidate.ids[3:]
    assert moved[1] == moved[2] == crossed[1]


def test_one_row_at_a_time_equals_the_batch() -> None:
    whole = transform(REQUEST, CANDIDATE, [0, 0, 1])
    schema = parse_schema(SCHEMA_TEXT)
    for row, request in enumerate([0, 0, 1]):
        one = FeatureTransform(schema)(
            {name: column_from_values([values[request]]) for name, values in REQUEST.items()},
            {name: column_from_values([values[row]]) for name, values in CANDIDATE.items()},
            np.zeros(1, dtype=np.int32),
            num_requests=1,
        )
        assert one.candidate.ids.tolist() == whole.candidate.ids.reshape(2, 3)[:, row].tolist()


@pytest.mark.parametrize(
    ("side", "name", "value", "message"),
    [
        ("candidate", "price", [0.0, float("nan"), 1.0], "entry 1 is not finite"),
        ("candidate", "price", [0.0, "dear", 1.0], "entry 1 is not a number"),
        ("candidate", "price", [0.0, True, 1.0], "entry 1 is not a number"),
        ("candidate", "item", ["a", 3, "b"], "entry 1 is not a string"),
        ("candidate", "item", [["a"], ["b"], []], "a list where one value is due"),
        ("candidate", "item", ["a"], "has 1 entries where 3 are due"),
        ("request", "hour", [1, 2.5], "entry 1 is not an integer"),
        ("request", "hour", [1, 2**70], "does not fit 64 bits"),
        ("request", "history", ["a", "b"], "one value where a list is due"),
    ],
)
def test_bad_value_is_refused_with_feature_and_entry(side: str, name: str, value: list[Any], message: str) -> None:
    request = {**REQUEST, name: value} if side == "request" else REQUEST
    candidate = {**CANDIDATE, name: value} if side == "candidate" else CANDIDATE
    with pytest.raises(InputError, match=message) as caught:
        transform(request, candidate, [0, 0, 1])
    assert caught.value.field == name


def test_unknown_feature_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="knows item, price"):
        FeatureTransform(parse_schema(SCHEMA_TEXT)).check_names(["colour"], of_request=False, where="candidates")


def test_hash_changes_with_a_transform_and_survives_json() -> None:
    schema = parse_schema(SCHEMA_TEXT)
    assert parse_schema(SCHEMA_TEXT.replace("0:100", "0:99")).hash != schema.hash
    assert schema_from_json(schema_to_json(schema)).hash == schema.hash


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('kind = "sequence"', 'kind = "parade"', "schema.features[1].kind"),
        ('"clip:0:100"', '"clip:0"', "age.transforms"),
        ('"clip:0:100"', '"cube"', "age.transforms"),
        ('"lower"', '"log1p"', "item.transforms"),
        ('features = ["user_id", "item"]', 'features = ["user_id", "history"]', "user_item.features"),
        ('table = "item", dim = 4', 'table = "item", dim = 8', "item.dim"),
        ('name = "hour"', 'name = "age"', "features"),
        ('dtype = "float", transforms = ["log1p"]', 'dtype = "int"', "price.dtype"),
    ],
)
def test_schema_with_a_mistake_is_refused_by_field(old: str, new: str, field: str) -> None:
    assert old in SCHEMA_TEXT
    with pytest.raises(InputError) as caught:
        parse_schema(SCHEMA_TEXT.replace(old, new, 1))
    assert caught.value.field == field


def test_schema_without_counters_has_the_hash_it_had_before_there_were_any() -> None:
    simulator = load_schema(SCHEMAS / "simulator.toml")
    without = msgspec.structs.replace(simulator, counters=())
    assert without.hash == "b6eb5d2364cb1323" != simulator.hash
    assert "counters" not in schema_to_json(without)


@pytest.mark.parametrize(
    ("counters", "field"),
    [
        ('key = ["nobody"]', "c.key"),
        ("key = []", "c.key"),
        ('key = ["item"]\nhalf_lives_seconds = [60, 5]', "c.half_lives_seconds"),
        ('key = ["item"]\nsmoothing = 0', "c.smoothing"),
        ('key = ["item"]\ncapacity = 3000000', "counters.capacity"),
    ],
)
def test_counter_that_cannot_be_is_refused_by_field(counters: str, field: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_schema(f'{SCHEMA_TEXT}\n[[counters]]\nname = "c"\n{counters}\n')
    assert caught.value.field == field

from __future__ import annotations

import numpy as np
import pytest

from streams.contract.errors import FormatError, InputError
from streams.contract.recommend_wire import (
    MAX_ITEMS,
    RankedItem,
    RecommendAnswer,
    RecommendRequest,
    pack_recommend,
    unpack_answer,
    unpack_request,
)


def test_a_request_and_an_answer_come_back_as_they_were() -> None:
    request = RecommendRequest(unit_id="u1", k=3, history=["a", "b"], exclude=["c"], with_features=True)
    assert unpack_request({"request": pack_recommend(request)}) == request
    answer = RecommendAnswer(items=[RankedItem(item_id="a", score=-1.5, features={"year": 1995})], version=7,
                             flags=["unknown_user"])  # fmt: skip
    assert unpack_answer({"answer": pack_recommend(answer)}) == answer


@pytest.mark.parametrize(("body", "field"), [
    ('{"unit_id": "u"}', "request"),
    ('{"unit_id": "u", "k": "3"}', "k"),
    (f'{{"unit_id": "u", "k": {MAX_ITEMS + 1}}}', "k"),
    ('{"unit_id": "u", "k": -1}', "k"),
    ('{"unit_id": "u", "k": 1, "histroy": []}', "request"),
    ('{"unit_id": "u", "k": 1, "history": [1]}', "history"),
    (f'{{"unit_id": "u", "k": 1, "history": {["x"] * 1001}}}'.replace("'", '"'), "history"),
    ("no JSON", "request"),
])  # fmt: skip
def test_a_bad_request_is_refused_and_the_field_is_named(body: str, field: str) -> None:
    tensor = np.frombuffer(body.encode(), dtype=np.uint8).reshape(1, -1)
    with pytest.raises(InputError) as error:
        unpack_request({"request": tensor})
    assert str(error.value.field).startswith(field)


def test_what_lacks_the_request_or_is_no_answer_says_so() -> None:
    with pytest.raises(InputError, match="request"):
        unpack_request({})
    with pytest.raises(FormatError, match="recommender"):
        unpack_answer({"answer": np.zeros((1, 3), dtype=np.uint8)})

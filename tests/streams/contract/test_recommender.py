from __future__ import annotations

import numpy as np
import pytest

from streams.contract.errors import FormatError
from streams.contract.recommender import (
    Item,
    history_of,
    history_rows,
    pack_items,
    recommender_schema,
    unpack_items,
    user_keys,
)


def test_items_travel_with_their_texts_and_features() -> None:
    items = [Item("7", "Heat (1995)", {"genres": ["Crime"], "year": 1995}), Item("8")]
    assert unpack_items(pack_items(items)) == items
    assert unpack_items(b"") == []


def test_what_is_no_list_of_items_is_refused() -> None:
    with pytest.raises(FormatError, match="catalogue"):
        unpack_items(b"\x01")


@pytest.mark.parametrize("length", [0, 1, 5, 9])
def test_a_history_comes_back_in_its_order_and_loses_its_oldest_items_where_it_is_too_long(length: int) -> None:
    history = np.arange(100, 100 + length)
    (row,) = history_rows([history], 5)
    assert row.dtype == np.float32
    assert history_of(row).tolist() == history[-5:].tolist()


def test_the_largest_item_number_is_exact_in_a_row() -> None:
    (row,) = history_rows([np.array([(1 << 24) - 1])], 3)
    assert history_of(row).tolist() == [(1 << 24) - 1]


def test_the_tables_have_one_dimension_and_users_have_keys_of_their_own() -> None:
    assert recommender_schema(64).tables == {"users": 65, "histories": 65, "items": 65}
    keys = user_keys(["1", "2", "1"])
    assert keys[0] == keys[2] != keys[1]

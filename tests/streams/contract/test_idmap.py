"""The vectorised map does what a dictionary does."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.contract.idmap import IdMap

KEYS = st.lists(st.tuples(st.integers(0, 2), st.integers(-50, 50)), unique=True, max_size=60)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), KEYS), max_size=8))
def test_any_sequence_of_changes_equals_a_dictionary(steps: list[tuple[bool, list[tuple[int, int]]]]) -> None:
    mapped, plain = IdMap(2), dict[tuple[int, int], int]()
    for removing, keys in steps:
        wanted = keys if removing else [key for key in keys if key not in plain]
        tables = np.array([table for table, _ in wanted], dtype=np.int16)
        ids = np.array([id_ for _, id_ in wanted], dtype=np.int64)
        if removing:
            mapped.remove(tables, ids)
            plain = {key: slot for key, slot in plain.items() if key not in wanted}
        else:
            slots = np.arange(len(plain), len(plain) + len(wanted), dtype=np.int32)
            mapped.insert(tables, ids, slots)
            plain |= dict(zip(wanted, slots.tolist(), strict=True))
        asked = [(table, id_) for table in range(3) for id_ in range(-50, 51)]
        found = mapped.lookup(np.array([t for t, _ in asked], np.int16), np.array([i for _, i in asked], np.int64))
        assert found.tolist() == [plain.get(key, -1) for key in asked]
        assert len(mapped) == len(plain)


def test_items_of_equal_content_are_in_equal_order() -> None:
    ids = np.arange(100, dtype=np.int64)
    tables = (ids % 3).astype(np.int16)
    forward, backward = IdMap(), IdMap(500)
    forward.insert(tables, ids, ids.astype(np.int32))
    backward.insert(tables[::-1].copy(), ids[::-1].copy(), ids[::-1].astype(np.int32))
    tables_forward, ids_forward, slots_forward = forward.items()
    tables_backward, ids_backward, slots_backward = backward.items()
    assert tables_forward.tolist() == tables_backward.tolist()
    assert ids_forward.tolist() == ids_backward.tolist()
    assert slots_forward.tolist() == slots_backward.tolist()

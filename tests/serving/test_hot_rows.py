"""Hot rows: what is found, what gives way, what may not."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.scorer.hot_rows import HotRows
from streams.contract.columns import Array

DIM = 3


def hot_rows(*, capacity: int = 8, max_unknown_ids: int = 4, num_tables: int = 2) -> HotRows:
    rows = HotRows(num_tables, DIM, capacity=capacity, max_unknown_ids=max_unknown_ids)
    rows.set_defaults(np.full((num_tables, DIM), -1, dtype=np.float32))
    return rows


def keys(*ids: int, table: int = 0) -> tuple[Array, Array]:
    return np.full(len(ids), table, dtype=np.int16), np.array(ids, dtype=np.int64)


def filled(*values: float) -> Array:
    return np.repeat(np.array(values, dtype=np.float32), DIM).reshape(-1, DIM)


def found(rows: HotRows, *ids: int, table: int = 0) -> list[float | None]:
    """The first value of each row, None for a miss."""
    slots = rows.lookup(*keys(*ids, table=table))
    return [None if slot < 0 else float(rows.values[slot, 0]) for slot in slots.tolist()]


def test_row_is_found_in_its_table_only() -> None:
    rows = hot_rows()
    rows.put(*keys(5), filled(1))
    assert found(rows, 5) == [1]
    assert found(rows, 5, table=1) == [None]


def test_second_put_replaces_the_row_in_its_slot() -> None:
    rows = hot_rows()
    rows.put(*keys(5, 6), filled(1, 2))
    rows.put(*keys(6, 7), filled(3, 4))
    assert found(rows, 5, 6, 7) == [1, 3, 4]
    assert len(rows) == 3


def test_forgotten_row_is_the_default_row() -> None:
    rows = hot_rows()
    rows.put(*keys(5, 6), filled(1, 2))
    rows.forget(*keys(5, 9), version=2)
    assert found(rows, 5, 6, 9) == [-1, 2, -1]
    assert len(rows) == 1


def test_row_from_the_store_does_not_replace_what_is_known_here() -> None:
    rows = hot_rows()
    rows.put(*keys(5), filled(1), version=3)
    rows.forget(*keys(6), version=3)
    rows.put_absent(*keys(5, 6, 7), filled(7, 8, 9))
    assert found(rows, 5, 6, 7) == [1, -1, 9]


def test_unknown_id_becomes_known_by_an_update() -> None:
    rows = hot_rows()
    rows.remember_unknown(*keys(5))
    assert found(rows, 5) == [-1]
    rows.put(*keys(5), filled(1), version=2)
    assert found(rows, 5) == [1]


def test_unknown_ids_beyond_the_limit_are_asked_for_again_oldest_first() -> None:
    rows = hot_rows(max_unknown_ids=4)
    for one in range(6):
        rows.remember_unknown(*keys(one))
    rows.release(1)
    assert found(rows, 0, 5) == [None, -1]
    assert rows.num_unknown == 3


def test_id_taken_away_stays_unknown_until_the_store_has_the_version() -> None:
    rows = hot_rows(max_unknown_ids=1)
    rows.forget(*keys(1, 2, 3), version=7)
    rows.release(6)
    assert found(rows, 1, 2, 3) == [-1, -1, -1]
    rows.release(7)
    assert found(rows, 1) == [None]


def test_ids_taken_away_by_every_version_are_dropped_though_the_store_is_one_behind() -> None:
    rows = hot_rows(max_unknown_ids=10)
    for version in range(1, 101):
        rows.forget(*keys(*range(10 * version, 10 * version + 10)), version=version)
        rows.release(version - 1)
    assert rows.num_unknown <= 30
    assert found(rows, 10, 1000, 1009) == [None, -1, -1]


def test_id_taken_away_twice_stays_unknown_until_the_store_has_the_second_version() -> None:
    rows = hot_rows(max_unknown_ids=1)
    rows.forget(*keys(1, 2), version=1)
    rows.put(*keys(1), filled(5), version=2)
    rows.forget(*keys(1), version=3)
    rows.release(2)
    assert found(rows, 1) == [-1]
    rows.release(3)
    rows.remember_unknown(*keys(8, 9))
    rows.release(3)
    assert found(rows, 1) == [None]


def test_row_dropped_as_unknown_and_come_back_stays() -> None:
    rows = hot_rows(max_unknown_ids=1)
    rows.remember_unknown(*keys(1, 2))
    rows.put(*keys(1), filled(5))
    rows.release(1)
    assert found(rows, 1) == [5]


def test_full_memory_gives_up_rows_that_were_not_used_lately() -> None:
    rows = hot_rows(capacity=4)
    rows.begin_batch()
    rows.put(*keys(1, 2, 3, 4), filled(1, 2, 3, 4))
    rows.begin_batch()
    rows.lookup(*keys(3, 4))
    rows.begin_batch()
    rows.lookup(*keys(3))
    rows.put(*keys(5), filled(5))
    assert found(rows, 3, 5) == [3, 5]
    assert found(rows, 1, 2).count(None) >= 1
    assert len(rows) <= 4


def test_rows_of_the_present_batch_are_not_evicted_the_memory_grows_instead() -> None:
    rows = hot_rows(capacity=2)
    rows.begin_batch()
    rows.put(*keys(1, 2), filled(1, 2))
    rows.put(*keys(3, 4, 5), filled(3, 4, 5))
    assert found(rows, 1, 2, 3, 4, 5) == [1, 2, 3, 4, 5]


def test_rows_that_the_store_lacks_are_not_evicted_before_it_has_them() -> None:
    rows = hot_rows(capacity=2)
    rows.put(*keys(1, 2), filled(1, 2), version=5)
    rows.begin_batch()
    rows.put(*keys(3), filled(3))
    assert found(rows, 1, 2, 3) == [1, 2, 3]
    rows.release(5)
    rows.begin_batch()
    rows.put(*keys(*range(10, 20)), filled(*range(10, 20)))
    assert found(rows, 1, 2, 3) == [None, None, None]


def test_missing_key_leaves_free_slots_free() -> None:
    rows = hot_rows(capacity=2)
    rows.begin_batch()
    assert found(rows, 1, 2, 3) == [None, None, None]
    rows.begin_batch()
    rows.put(*keys(1, 2), filled(1, 2))
    rows.begin_batch()
    rows.put(*keys(3, 4), filled(3, 4))
    assert found(rows, 3, 4) == [3, 4]
    assert len(rows) == 2


def test_memory_of_a_row_is_counted() -> None:
    small, large = hot_rows(capacity=10), hot_rows(capacity=1010)
    assert large.num_bytes - small.num_bytes >= 1000 * (4 * DIM + 8)


KINDS = st.sampled_from(["put", "forget", "fetch", "batch", "release", "release_all_but_three"])
STEPS = st.tuples(KINDS, st.sets(st.integers(0, 14), min_size=1))


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_any_sequence_agrees_with_a_dictionary_that_forgets_nothing(steps: list[tuple[str, set[int]]]) -> None:
    rows = hot_rows(capacity=5, max_unknown_ids=3)
    truth: dict[int, float] = {}
    changed: dict[int, int] = {}
    stored = 0
    for version, (step, ids) in enumerate(steps, start=1):
        some = sorted(ids)
        if step == "put":
            rows.put(*keys(*some), filled(*[version] * len(some)), version=version)
            truth.update(dict.fromkeys(some, version))
            changed.update(dict.fromkeys(some, version))
        elif step == "forget":
            rows.forget(*keys(*some), version=version)
            changed.update({one: version for one in some if truth.get(one, -1) != -1})
            truth.update(dict.fromkeys(some, -1))
        elif step == "fetch":
            missing = [one for one, value in zip(some, found(rows, *some), strict=True) if value is None]
            held = [one for one in missing if truth.get(one, -1) != -1]
            rows.put_absent(*keys(*held), filled(*[truth[one] for one in held]))
            rows.remember_unknown(*keys(*[one for one in missing if one not in held]))
            assert found(rows, *some) == [truth.get(one, -1) for one in some]
        elif step == "batch":
            rows.begin_batch()
        else:
            stored = max(stored, version if step == "release" else version - 3)
            rows.release(stored)
    for one, value in zip(range(15), found(rows, *range(15)), strict=True):
        assert value == truth.get(one, -1) or (value is None and changed.get(one, 0) <= stored)

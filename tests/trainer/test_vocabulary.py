"""Rows are admitted by sightings, evicted by age and use, never shared, and follow from the batches alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streams.contract.errors import InputError
from trainer.admission import Admission, AdmissionConfig
from trainer.sightings import Sightings, sightings
from trainer.vocabulary import Assignment, Vocabulary, VocabularyConfig

SECOND = 1000


def vocabulary(capacity: int = 100, *, tables: int = 2, admit_after: int = 1, **config: Any) -> Vocabulary:
    admission = AdmissionConfig(admit_after=admit_after, bits=12)
    return Vocabulary({f"t{n}": capacity for n in range(tables)}, VocabularyConfig(admission=admission, **config))


def assign(vocab: Vocabulary, ids: list[int], *, table: int = 0, now_ms: int = 0) -> Assignment:
    return vocab.assign(sightings(np.full(len(ids), table, dtype=np.int16), np.array(ids, dtype=np.int64)), now_ms)


def test_id_seen_often_enough_gets_a_row_of_its_own_at_once() -> None:
    vocab = vocabulary(admit_after=2)
    assert assign(vocab, [7, 8]).rows.tolist() == [0, 0]
    second = assign(vocab, [8, 9])
    assert second.rows.tolist() == [1, 0]
    assert second.admitted.ids.tolist() == [8]
    assert assign(vocab, [7, 8, 9]).rows.tolist() == [2, 1, 3]


def test_repeats_within_a_batch_count_as_sightings() -> None:
    assert assign(vocabulary(admit_after=3), [5, 5, 5, 6, 6]).rows.tolist() == [1, 1, 1, 0, 0]


def test_same_id_in_two_tables_has_a_row_in_each() -> None:
    vocab = vocabulary()
    assign(vocab, [4, 5], table=0)
    assert assign(vocab, [5], table=1).rows.tolist() == [1]
    assert assign(vocab, [5], table=0).rows.tolist() == [2]


def test_random_batches_give_every_admitted_id_one_row_and_never_share_one() -> None:
    rng, vocab = np.random.default_rng(0), vocabulary(50, tables=3, admit_after=2)
    for step in range(200):
        tables = rng.integers(0, 3, 64).astype(np.int16)
        ids = rng.zipf(1.2, 64) % 300
        assignment = vocab.assign(sightings(tables, ids), step * SECOND)
        assert (assignment.rows >= 0).all()
        assert (assignment.rows < 50).all()
        keys = vocab.items()
        assert len(np.unique(keys.slots)) == len(keys)
        assert not np.isin(keys.slots, vocab.offsets).any()
        owners = dict(zip(zip(keys.tables.tolist(), keys.ids.tolist(), strict=True), keys.slots.tolist(), strict=True))
        expected = [owners.get(key, int(vocab.offsets[key[0]]))
                    for key in zip(tables.tolist(), ids.tolist(), strict=True)]  # fmt: skip
        assert (assignment.rows + vocab.offsets[tables]).tolist() == expected


def test_full_table_evicts_least_used_and_oldest_ids_and_reuses_their_rows() -> None:
    vocab = vocabulary(5, evict_fraction=0.2, half_life_ms=10 * SECOND)
    assign(vocab, [1, 2, 3, 4], now_ms=0)
    assign(vocab, [1], now_ms=SECOND)
    assign(vocab, [2, 4], now_ms=2 * SECOND)
    last = assign(vocab, [9], now_ms=3 * SECOND)
    assert last.evicted.ids.tolist() == [3]
    assert last.rows.tolist() == [3]
    assert assign(vocab, [1, 2, 4, 9], now_ms=4 * SECOND).rows.tolist() == [1, 2, 4, 3]


def test_one_use_now_outweighs_two_uses_many_half_lives_ago() -> None:
    vocab = vocabulary(3, evict_fraction=0.2, half_life_ms=SECOND)
    assign(vocab, [1], now_ms=0)
    assign(vocab, [1], now_ms=1)
    assign(vocab, [2], now_ms=10 * SECOND)
    assert assign(vocab, [3], now_ms=10 * SECOND).evicted.ids.tolist() == [1]


def test_ids_of_the_batch_itself_are_not_evicted_for_it() -> None:
    vocab = vocabulary(4)
    assign(vocab, [1, 2, 3])
    full = assign(vocab, [1, 2, 3, 4, 5])
    assert full.rows.tolist() == [1, 2, 3, 0, 0]
    assert len(full.evicted) == 0


def test_batch_with_more_new_ids_than_rows_leaves_the_rest_on_the_default_row() -> None:
    assert sorted(assign(vocabulary(4), list(range(10, 20))).rows.tolist()) == [0] * 7 + [1, 2, 3]


def test_ids_beyond_max_age_are_evicted_from_a_table_that_is_not_full() -> None:
    vocab = vocabulary(max_age_ms=10 * SECOND, sweep_every=2)
    assign(vocab, [1], now_ms=0)
    assign(vocab, [2], now_ms=9 * SECOND)
    assert len(assign(vocab, [2], now_ms=30 * SECOND).evicted) == 0
    assert assign(vocab, [2], now_ms=31 * SECOND).evicted.ids.tolist() == [1]


def test_late_events_do_not_turn_the_clock_back() -> None:
    vocab = vocabulary(3, half_life_ms=SECOND)
    assign(vocab, [1], now_ms=100 * SECOND)
    assign(vocab, [2], now_ms=0)
    assign(vocab, [1], now_ms=0)
    assert assign(vocab, [3], now_ms=0).evicted.ids.tolist() == [2]


def test_restored_vocabulary_goes_on_exactly_as_the_original() -> None:
    rng = np.random.default_rng(1)
    original = vocabulary(40, admit_after=2, max_age_ms=50 * SECOND, sweep_every=7)

    def batch(step: int) -> Assignment:
        tables, ids = rng.integers(0, 2, 32).astype(np.int16), rng.zipf(1.2, 32) % 200
        copied.append((sightings(tables, ids), step * SECOND))
        return original.assign(*copied[-1])

    copied: list[tuple[Sightings, int]] = []
    for step in range(100):
        batch(step)
    restored = vocabulary(40, admit_after=2, max_age_ms=50 * SECOND, sweep_every=7)
    restored.load_state(original.state())
    for step in range(100, 200):
        ours = batch(step)
        theirs = restored.assign(*copied[-1])
        assert np.array_equal(ours.rows, theirs.rows)
        assert np.array_equal(ours.evicted.slots, theirs.evicted.slots)
        assert np.array_equal(ours.admitted.ids, theirs.admitted.ids)
    for name, array in original.state().items():
        assert np.array_equal(array, restored.state()[name])


def test_state_of_other_capacities_raises_input_error() -> None:
    with pytest.raises(InputError, match="tables of other sizes"):
        vocabulary(40).load_state(vocabulary(41).state())


def test_high_water_is_behind_the_last_row_in_use() -> None:
    vocab = vocabulary(10)
    assign(vocab, [1, 2, 3], table=1)
    assert vocab.high_water().tolist() == [1, 4]


@pytest.mark.parametrize(("name", "value"), [("evict_fraction", 0.0), ("half_life_ms", 0), ("sweep_every", 0)])
def test_config_out_of_range_raises_input_error_naming_the_field(name: str, value: float) -> None:
    with pytest.raises(InputError, match=name):
        VocabularyConfig(**{name: value})  # type: ignore[arg-type]


def test_admission_memory_stays_fixed_and_old_sightings_are_forgotten() -> None:
    admission = Admission(AdmissionConfig(admit_after=2, bits=8))
    size = sum(array.nbytes for array in admission.state().values())
    table = np.zeros(128, dtype=np.int16)
    ones = np.ones(128, dtype=np.int64)
    assert not admission.admit(table[:1], np.array([-5]), ones[:1]).any()
    for start in range(0, 100_000, 128):
        admission.admit(table, np.arange(start, start + 128) * 7919, ones)
    assert sum(array.nbytes for array in admission.state().values()) == size
    seen_twice = [admission.admit(table[:1], np.array([-9 - n]), ones[:1])[0] for n in range(200)]
    assert np.mean(seen_twice) < 0.9


def test_admission_never_counts_too_low() -> None:
    admission, rng = Admission(AdmissionConfig(admit_after=3, bits=16)), np.random.default_rng(2)
    seen: dict[int, int] = {}
    for _ in range(50):
        ids, counts = np.unique(rng.integers(0, 300, 40), return_counts=True)
        admitted = admission.admit(np.zeros(len(ids), dtype=np.int16), ids, counts)
        for key, count, due in zip(ids.tolist(), counts.tolist(), admitted.tolist(), strict=True):
            seen[key] = seen.get(key, 0) + count
            assert due or seen[key] < 3

"""Rounds on disk: order, damage, bounds, and going on from a checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streams.contract.errors import FormatError, UnavailableError
from streams.contract.examples import encode_examples
from tests.support.toy_examples import toy_batch
from trainer.future.round_store import RoundStore
from trainer.future.window import mixed, side_by_side


def filled(folder: Path, sizes: dict[int, list[int]]) -> RoundStore:
    store = RoundStore(folder)
    start = 0
    for t, requests in sizes.items():
        for number in requests:
            store.append(t, toy_batch(number, start=start, candidates=1))
            start += number
    return store


def test_records_come_back_as_they_were_appended(tmp_path: Path) -> None:
    store = filled(tmp_path, {0: [5, 3], 1: [4]})
    assert store.rounds() == [0, 1]
    assert store.sizes(0) == [5, 3]
    assert encode_examples(store.read(0, 1)) == encode_examples(toy_batch(3, start=5, candidates=1))


def test_damaged_record_is_refused_by_name(tmp_path: Path) -> None:
    store = filled(tmp_path, {7: [5]})
    path = next(tmp_path.glob("round-*"))
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match="record 0"):
        store.read(7, 0)
    path.write_bytes(b"")
    with pytest.raises(FormatError, match="checksum"):
        store.read(7, 0)


def test_dropped_rounds_leave_no_file_and_thinned_ones_every_second_record(tmp_path: Path) -> None:
    store = filled(tmp_path, {0: [5], 1: [1, 2, 3, 4, 5]})
    store.drop_before(1)
    assert [path.name for path in tmp_path.iterdir()] == ["round-000000000001"]
    store.thin(1)
    assert store.sizes(1) == [1, 3, 5]


def test_store_goes_on_from_its_state_in_another_folder(tmp_path: Path) -> None:
    store = filled(tmp_path / "a", {3: [5, 2], 4: [1]})
    state = store.state()
    other = filled(tmp_path / "b", {9: [1]})
    other.load_state(state)
    assert other.rounds() == [3, 4]
    other.append(4, toy_batch(2, candidates=1))
    assert other.sizes(4) == [1, 2]
    assert encode_examples(other.read(3, 1)) == encode_examples(store.read(3, 1))


def test_first_record_clears_what_an_earlier_run_left(tmp_path: Path) -> None:
    filled(tmp_path, {5: [1]})
    store = RoundStore(tmp_path)
    assert (tmp_path / "round-000000000005").exists()
    store.append(0, toy_batch(1))
    assert [path.name for path in tmp_path.iterdir()] == ["round-000000000000"]


def test_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="cannot be kept"):
        RoundStore(tmp_path / "file").append(0, toy_batch(1))


def test_pass_over_rounds_gives_every_example_once_evenly_spread(tmp_path: Path) -> None:
    store = filled(tmp_path, {0: [64, 64, 30], 1: [3], 2: [40, 2]})
    steps = list(side_by_side(store, [2, 1, 0], 32))
    assert len(steps) == 5
    for place, (t, total) in enumerate([(2, 42), (1, 3), (0, 158)]):
        sizes = [0 if step[place] is None else len(step[place] or []) for step in steps]
        assert sum(sizes) == total == sum(store.sizes(t))
        assert max(sizes) - min(sizes) <= 1
        whole = [i for step in steps if (chunk := step[place]) is not None for i in chunk.impression_id]
        assert whole == [i for r in range(len(store.sizes(t))) for i in store.read(t, r).impression_id]


def test_shares_of_a_mixed_batch_add_up_to_each_rounds_weight(tmp_path: Path) -> None:
    chunks = [toy_batch(5, candidates=1), None, toy_batch(3, candidates=1)]
    batch, share = mixed(chunks, np.array([0.25, 0.5, 0.75]))
    assert len(batch) == 8
    np.testing.assert_allclose([share[:5].sum(), share[5:].sum()], [0.25, 0.75], rtol=1e-6)

from __future__ import annotations

import numpy as np

from trainer.model.rows import initial_rows

IDS = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, size=20_000, dtype=np.int64)


def test_row_depends_on_its_id_and_not_on_its_company() -> None:
    together = initial_rows(3, IDS, 16, seed=1)
    assert np.array_equal(initial_rows(3, IDS[77:78], 16, seed=1), together[77:78])
    assert np.array_equal(initial_rows(3, IDS[::-1], 16, seed=1)[::-1], together)


def test_rows_differ_by_id_table_seed_and_column() -> None:
    rows = initial_rows(3, IDS, 16, seed=1)
    assert len(np.unique(rows)) > 300_000
    for other in (initial_rows(4, IDS, 16, seed=1), initial_rows(3, IDS, 16, seed=2)):
        assert abs(np.corrcoef(other.ravel(), rows.ravel())[0, 1]) < 0.01


def test_rows_are_uniform_within_the_scale() -> None:
    rows = initial_rows(0, IDS, 16, seed=0, scale=2.0)
    assert rows.dtype == np.float32
    assert 0.499 < np.abs(rows).max() < 0.5
    assert abs(rows.mean()) < 0.001
    assert abs(rows.std() - 0.5 / np.sqrt(3)) < 0.001
    assert abs(np.corrcoef(rows[:, 0], rows[:, 1])[0, 1]) < 0.03


def test_rows_are_the_same_in_every_release() -> None:
    bits = initial_rows(2, np.array([12345]), 4, seed=7).view(np.uint32)
    assert bits.tolist() == [[3203886781, 1033722096, 3203976521, 1038151584]]


def test_no_ids_give_no_rows() -> None:
    assert initial_rows(0, np.zeros(0, dtype=np.int64), 4, seed=0).shape == (0, 4)

"""Rows that begin as somebody else learnt them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from streams.contract.columns import Array
from streams.contract.errors import InputError
from tests.support.small_model import shared_schema
from trainer.model.tables import LocalTables, TablesConfig
from trainer.recipes import recipe, with_starting_rows

IDS = np.array([30, -7, 12], dtype=np.int64)
ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)


def saved(folder: Path, **tensors: Array) -> str:
    path = folder / "rows.safetensors"
    save_file({name.replace("_", "/"): tensor for name, tensor in tensors.items()}, path)
    return str(path)


def test_known_ids_of_the_table_begin_with_the_files_rows_and_others_as_ever(tmp_path: Path) -> None:
    path = saved(tmp_path, article_ids=IDS, article_rows=ROWS)
    plain = LocalTables(shared_schema(), TablesConfig(capacity=20))
    tables = LocalTables(shared_schema(), TablesConfig(capacity=20, starting_rows=path))
    number = list(tables.names).index("article")
    asked = np.array([12, 99, 30], dtype=np.int64)
    tables.begin_rows(np.full(3, number, dtype=np.int16), asked, np.array([1, 2, 3]))
    began = tables.read_rows("article", np.array([1, 2, 3]))
    assert np.array_equal(began[[0, 2]], ROWS[[2, 0]])
    assert np.array_equal(began[1:2], plain.initial_rows("article", asked[1:2]))
    assert np.array_equal(tables.initial_rows("article", IDS), ROWS)
    other = next(name for name in tables.names if name != "article")
    assert np.array_equal(tables.initial_rows(other, IDS), plain.initial_rows(other, IDS))


@pytest.mark.parametrize(("tensors", "says"), [
    ({"nothing_ids": IDS, "nothing_rows": ROWS}, "tables that the schema does not have"),
    ({"article_ids": IDS}, "must hold"),
    ({"article_ids": IDS, "article_rows": ROWS[:, :3]}, "must hold"),
    ({"article_ids": IDS.astype(np.int32), "article_rows": ROWS}, "must hold"),
    ({"article_ids": np.array([1, 1, 2]), "article_rows": ROWS}, "twice"),
    ({"article_ids": IDS, "article_rows": np.full_like(ROWS, np.nan)}, "not finite"),
])  # fmt: skip
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, tensors: dict[str, Array], says: str) -> None:
    path = saved(tmp_path, **tensors)
    with pytest.raises(InputError, match=says) as error:
        LocalTables(shared_schema(), TablesConfig(starting_rows=path))
    assert "freshet recommender rows" in str(error.value.remedy)


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        LocalTables(shared_schema(), TablesConfig(starting_rows=str(tmp_path / "none")))


def test_a_recipe_takes_the_file_and_is_otherwise_itself() -> None:
    named = with_starting_rows(recipe("default"), "rows.safetensors")
    assert named.tables.starting_rows == "rows.safetensors"
    assert with_starting_rows(named, "other").tables.starting_rows == "other"
    assert named.network == recipe("default").network

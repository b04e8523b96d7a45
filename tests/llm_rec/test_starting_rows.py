from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from freshet.cli import main
from llm_rec.model_folder import write_model
from llm_rec.starting_rows import Named, reduced, write_starting_rows
from streams.contract.errors import InputError
from streams.contract.schema import Feature, Schema
from streams.contract.values import ids_of
from streams.datasets.registry import schema_path
from tests.support.live_recommender import fitted

ITEM = Feature(name="movie_id", scope="ad", kind="categorical", table="movie", dim=3)
SCHEMA = Schema(name="films", features=(
    Feature(name="history", scope="user", kind="sequence", table="movie", dim=3), ITEM,
    Feature(name="age", scope="user", kind="categorical", dtype="int", dim=3),
    Feature(name="price", scope="ad", kind="dense", dtype="float"),
))  # fmt: skip


def drawn(num: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(3).normal(size=(num, width)).astype(np.float32)


def test_what_lies_in_few_directions_keeps_its_distances_up_to_one_scale() -> None:
    plane = drawn(40, 2) @ drawn(2, 8)
    rows = reduced(plane, 3, 0.05)
    ours = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    theirs = np.linalg.norm(plane[:, None] - plane[None], axis=-1)
    assert np.allclose(ours / ours.max(), theirs / theirs.max(), atol=1e-4)
    assert np.sqrt(np.square(rows).mean()) == pytest.approx(0.05, rel=1e-4)


def test_fewer_dimensions_than_the_table_has_are_filled_with_zeros() -> None:
    rows = reduced(drawn(10, 2), 5, 0.1)
    assert rows[:, :2].any(axis=0).all()
    assert not rows[:, 2:].any()


def test_equal_embeddings_give_rows_of_zeros_and_not_of_nothing() -> None:
    assert not reduced(np.ones((4, 3), dtype=np.float32), 2, 0.1).any()


def test_ids_are_those_that_the_feature_gives_the_names(tmp_path: Path) -> None:
    names = ["7", "12", "7"]
    counted = write_starting_rows(tmp_path / "a" / "rows", SCHEMA, {"movie_id": Named(names, drawn(3, 6))})
    tensors = load_file(tmp_path / "a" / "rows")
    assert counted == {"movie": 2}
    assert set(tensors["movie/ids"].tolist()) == set(ids_of(ITEM, names).tolist())
    assert tensors["movie/rows"].shape == (2, 3)


@pytest.mark.parametrize(("feature", "names", "says"), [
    ("film", ["1"], "no feature with ids"), ("price", ["1"], "no feature with ids"), ("age", ["x"], "whole numbers"),
])  # fmt: skip
def test_a_feature_that_cannot_have_these_names_is_refused(
    tmp_path: Path, feature: str, names: list[str], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        write_starting_rows(tmp_path / "rows", SCHEMA, {feature: Named(names, drawn(len(names), 4))})
    assert not (tmp_path / "rows").exists()


@pytest.mark.parametrize(("wrong", "field"), [
    (("--deviation", "nan"), "deviation"), (("--deviation", "inf"), "deviation"), (("--deviation", "0"), "deviation"),
    (("--from", "/nosuch"), "from"), (("--schema", "/nosuch"), "schema"), (("--item-feature", "nosuch"), "feature"),
    (("--item-feature", ""), "item-feature"), (("--out", "/"), "out"), (("--out", "/proc/nosuch/rows"), "out"),
])  # fmt: skip
def test_input_of_the_command_that_cannot_be_is_named(
    wrong: tuple[str, str], field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "model", fitted())
    usual = [
        "--from",
        str(tmp_path / "model"),
        "--schema",
        str(schema_path("movielens:x")),
        "--out",
        str(tmp_path / "rows"),
    ]
    assert main(["recommender", "rows", *usual, "--item-feature", "movie_id", *wrong, "--json"]) == 2
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    assert told["field"] == field
    assert told["remedy"]
    assert not (tmp_path / "rows").exists()

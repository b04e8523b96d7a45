"""The recommender's embeddings become first rows of the CTR model, by the commands that the documents name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from freshet.cli import main
from streams.datasets.registry import schema_path
from tests.support.liked_films import NUM_FILMS, NUM_USERS, START_S, write_films


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return told


def add_dislikes(folder: Path) -> None:
    """Behind the likes: each user dislikes a film of the other community."""
    line = {"label": 0, "timestamp": START_S + 86_400, "his": [0], "split": "test"}
    with (folder / "events.jsonl").open("a") as file:
        for user in range(1, NUM_USERS + 1):
            film = (user + 1) % NUM_FILMS + 1 - user % 2
            file.write(json.dumps({"uid": user, "iid": film, "title": f"Film {film} ({1950 + film})", **line}) + "\n")


def test_a_recipe_runs_with_and_without_the_recommenders_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, schema = write_films(tmp_path / "data"), str(schema_path("movielens:x"))
    add_dislikes(tmp_path / "data")
    run(capsys, "recommender", "train", "--data", data, "--split", "time", "--out", str(tmp_path / "model"))
    rows = str(tmp_path / "rows.safetensors")
    told = run(capsys, "recommender", "rows", "--from", str(tmp_path / "model"), "--schema", schema,
               "--item-feature", "movie_id", "--user-feature", "user_id", "--out", rows)  # fmt: skip
    assert told["rows"] == {"movie": NUM_FILMS, "user_id": NUM_USERS}
    assert np.square(load_file(rows)["movie/rows"]).mean() == pytest.approx(0.05**2, rel=1e-3)
    told = run(capsys, "evaluate", "--data", data, "--recipe", "default", "--recipe", "river-lr",
               "--starting-rows", rows)  # fmt: skip
    assert set(told["recipes"]) == {"default", "default+starting-rows", "river-lr"}
    plain, begun = (told["recipes"][name] for name in ("default", "default+starting-rows"))
    assert plain["examples"] == begun["examples"]
    assert plain["log_loss"] != begun["log_loss"]


def test_rows_of_no_feature_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["recommender", "rows", "--from", str(tmp_path), "--schema", str(schema_path("movielens:x")),
                 "--out", str(tmp_path / "rows")])  # fmt: skip
    assert code == 2
    assert "item-feature" in capsys.readouterr().err

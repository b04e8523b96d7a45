"""`freshet recommender train`: a data set in, a model folder out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freshet.cli import main
from llm_rec.model_folder import has_model, models_of, read_model
from streams.contract.errors import FormatError, NotFoundError
from tests.support.liked_films import NEW_FILM, NUM_FILMS, NUM_USERS, write_films

TRAIN_LIKES = 6 * NUM_USERS


def train(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main(["recommender", "train", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


def test_split_time_learns_the_train_part_and_knows_nothing_of_what_comes_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code, told = train(capsys, "--data", write_films(tmp_path / "data"), "--split", "time", "--out", str(out))
    assert code == 0
    assert (told["users"], told["items"], told["likes"]) == (NUM_USERS, NUM_FILMS, TRAIN_LIKES)
    assert told["out"] == str(out)
    assert told["seconds"] > 0
    assert set(told["validation"]) == {"users", "recall_at_20", "recall_at_40", "ndcg_at_100"}
    assert told["validation"]["users"] == NUM_USERS
    model = read_model(out)
    assert str(NEW_FILM) not in {item.name for item in model.items}
    assert sum(map(len, model.histories)) == TRAIN_LIKES
    assert 0.99 * TRAIN_LIKES < model.counts.sum() < TRAIN_LIKES, "likes of some hours, counted half after 90 days"
    film = next(item for item in model.items if item.name == "7")
    assert film.text == "Film 7 (1957), Musical"
    assert film.features == {"movie_id": "7", "genres": ["Musical"], "year": 1957}
    assert not (out / "fitting").exists()
    assert models_of(model).collaborative.table.shape == (NUM_USERS + NUM_FILMS, 64)


def test_split_all_begins_with_every_like(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    code, told = train(capsys, "--data", write_films(tmp_path / "data"), "--out", str(out))
    assert code == 0
    likes = TRAIN_LIKES + 2 * NUM_USERS + NUM_USERS // 2
    assert (told["items"], told["likes"]) == (NUM_FILMS + 1, likes)
    model = read_model(out)
    assert sum(map(len, model.histories)) == likes
    newest = [model.items[items[-1]].name for items in model.histories]
    assert newest.count(str(NEW_FILM)) == NUM_USERS // 2, "histories end with the newest like"


def test_a_folder_with_a_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--data", write_films(tmp_path / "data"), "--out", str(tmp_path / "out"))
    train(capsys, *arguments)
    before = (tmp_path / "out/model/MANIFEST.json").read_bytes()
    code, told = train(capsys, *arguments)
    assert code == 1
    assert told["error"]["field"] == "out"
    assert (tmp_path / "out/model/MANIFEST.json").read_bytes() == before


@pytest.mark.parametrize(("wrong", "field"), [
    (("--least-likes", "0"), "least_likes"), (("--least-likes", "99"), "least_likes"),
    (("--half-life-days", "0"), "half_life_days"), (("--data", "mind:x"), "data"), (("--recipe", "x"), "recipe"),
    (("--seed", "-1"), "seed"), (("--seed", str(2**64)), "seed"), (("--threads", "0"), "threads"),
    (("--threads", str(2**64)), "threads"), (("--out", "/proc/nosuch"), "out"),
])  # fmt: skip
def test_input_that_cannot_be_is_named(
    wrong: tuple[str, str], field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code, told = train(capsys, "--data", write_films(tmp_path / "data"), "--out", str(out), *wrong)
    assert code == 2
    assert told["error"]["field"] == field
    assert told["error"]["remedy"]
    assert not has_model(out)


def test_a_file_in_the_folders_place_is_told_before_anything_is_learnt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.write_text("kept")
    code, told = train(capsys, "--data", write_films(tmp_path / "data"), "--out", str(out))
    assert (code, told["error"]["field"], out.read_text()) == (2, "out", "kept")


@pytest.mark.parametrize("liked", [[], [0]], ids=["no line", "no like"])
def test_data_without_a_like_are_refused(liked: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = '{"split": "train", "uid": 4, "iid": 8, "label": %d, "timestamp": 9, "title": "A", "his": [0]}\n'
    (tmp_path / "events.jsonl").write_text("".join(line % label for label in liked))
    code, told = train(capsys, "--data", f"movielens:{tmp_path}", "--out", str(tmp_path / "out"))
    assert (code, told["error"]["field"]) == (2, "data")


def test_malformed_lines_are_skipped_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = ("--data", write_films(tmp_path / "data"), "--out", str(tmp_path / "out"))
    with (tmp_path / "data" / "events.jsonl").open("a") as file:
        file.write("no json\n")
    code, told = train(capsys, *usual)
    assert code == 2
    assert "--max-bad-lines" in told["error"]["remedy"]
    assert train(capsys, *usual, "--max-bad-lines", "1", "--recipe", "llm-prerec-small")[0] == 0


def test_split_time_is_refused_where_the_data_mark_no_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "user_sequence.txt").write_text("A1 B2 B1\n")
    (tmp_path / "item_generative_indexing_phase_0.txt").write_text("B1 rose water\nB2 soap\n")
    data, out = f"amazon:{tmp_path}", str(tmp_path / "out")
    code, told = train(capsys, "--data", data, "--split", "time", "--out", out)
    assert code == 2
    assert told["error"]["field"] == "split"


def test_a_damaged_model_is_refused_and_an_absent_one_not_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with pytest.raises(NotFoundError):
        read_model(out)
    train(capsys, "--data", write_films(tmp_path / "data"), "--out", str(out))
    path = out / "model" / "ids.safetensors"
    held = bytearray(path.read_bytes())
    held[-1] ^= 1
    path.write_bytes(held)
    with pytest.raises(FormatError, match="checksum"):
        read_model(out)


def test_counts_are_of_what_the_model_knows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    train(capsys, "--data", write_films(tmp_path / "data"), "--split", "time", "--out", str(out))
    model = read_model(out)
    likes = np.bincount(np.concatenate(model.histories), minlength=len(model.items))
    assert np.allclose(model.counts, likes, rtol=0.01)

"""MovieLens files of two communities, each with films and a genre of its own, in three parts of time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

NUM_USERS, NUM_FILMS = 24, 24
GENRES = ("Western", "Musical")
NEW_FILM = NUM_FILMS + 1
START_S = 991_000_000
_PARTS = ("train", "valid", "test")


def write_films(folder: Path, *, seed: int = 0, dislikes: bool = False) -> str:
    """events.jsonl and movies.dat; returns the spec.

    User and film of one parity like each other. Each user likes half of its films in train, one in valid, one in
    test; film NEW_FILM (of the odd ones) is rated in test alone. With `dislikes` each user rates a film of the other
    parity badly in each part, too.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    films = {film: f"Film {film} ({1950 + film})" for film in range(1, NUM_FILMS + 2)}
    (folder / "movies.dat").write_text(
        "".join(f"{film}::{title}::{GENRES[film % 2]}\n" for film, title in films.items()), encoding="latin-1"
    )
    ratings: list[tuple[int, int, str]] = []
    bad: list[tuple[int, int, str]] = []
    for user in range(1, NUM_USERS + 1):
        own = rng.permutation([film for film in range(1, NUM_FILMS + 1) if film % 2 == user % 2]).tolist()
        ratings += [(user, film, "train") for film in own[:6]] + [(user, own[6], "valid"), (user, own[7], "test")]
        if dislikes:
            bad += [(user, (user + 2 * n) % NUM_FILMS + 1, part) for n, part in enumerate(_PARTS)]
    ratings += [(user, NEW_FILM, "test") for user in range(1, NUM_USERS + 1, 2)]
    ratings += bad
    ratings.sort(key=lambda each: _PARTS.index(each[2]))
    lines = [
        {"uid": user, "iid": film, "label": int((user, film, part) not in bad), "timestamp": START_S + 60 * n,
         "title": films[film], "his": [0], "split": part}
        for n, (user, film, part) in enumerate(ratings)
    ]  # fmt: skip
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return f"movielens:{folder}"

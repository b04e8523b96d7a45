"""`movielens:DIR` and `amazon:DIR` as likes and item texts, read by the parsers of the event streams.

A like is a film rated 4 or 5, or a reviewed product. An item is one that was liked at least once; the
second like of the same item by the same user tells nothing new and is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llm_rec.interactions import Catalogue, Interactions, k_core
from streams.contract.columns import Array
from streams.contract.errors import InputError, NotFoundError
from streams.datasets.amazon import item_columns, item_texts, user_sequences
from streams.datasets.badlines import BadLines
from streams.datasets.lines import parse_lines, read_lines, require_file
from streams.datasets.movielens import events_file, film_columns, parse_rating
from streams.datasets.movielens_native import films_in

TRAIN, VALID, TEST = 0, 1, 2
_PARTS = {"train": TRAIN, "valid": VALID, "test": TEST}


@dataclass(frozen=True, slots=True)
class Source:
    """Likes and texts, and what the file says of how they are to be divided."""

    spec: str
    interactions: Interactions
    catalogue: Catalogue
    part: Array | None
    """(N,) int8 TRAIN, VALID or TEST as the file marks each like; None where it does not."""
    has_time: bool
    """Whether `interactions.time_ms` is a time, not a place in the user's own order."""


class _Like(NamedTuple):
    user: str
    item: str
    time_ms: int
    part: str


def load(spec: str, *, least_likes: int = 1, max_bad_lines: int = 0) -> Source:
    """Reads `FORMAT:DIR`, its `least_likes`-core alone; so many malformed lines are skipped.

    Raises InputError, NotFoundError or FormatError.
    """
    name, colon, path = spec.partition(":")
    if name not in READERS or not colon or not path:
        raise InputError("is not FORMAT:DIR", field="data", value=spec,
                         remedy=f"use one of {', '.join(f'{reader}:DIR' for reader in READERS)}")  # fmt: skip
    source = READERS[name](spec, Path(path).expanduser(), BadLines(max_bad_lines))
    if not len(source.interactions.item):
        raise InputError("holds nothing that anybody liked", field="data", value=spec,
                         remedy="give films rated 4 or 5, or reviewed products")  # fmt: skip
    return source if least_likes == 1 else core_of(source, least_likes)


def core_of(source: Source, least_likes: int) -> Source:
    """The part in which every user and every item has `least_likes` or more. Raises InputError where none has."""
    likes = source.interactions
    kept = k_core(likes, least_likes)
    if not kept.any():
        raise InputError("leaves no like at all", field="least_likes", value=least_likes, remedy="give a smaller one")
    return part_of(source, kept)


def part_of(source: Source, kept: Array) -> Source:
    """The likes that are kept (N,) bool, with their users and items alone."""
    likes, catalogue = source.interactions, source.catalogue
    users, user = np.unique(likes.user[kept], return_inverse=True)
    items, item = np.unique(likes.item[kept], return_inverse=True)
    names = tuple(likes.users[each] for each in users), tuple(likes.items[each] for each in items)
    told = Catalogue(*(tuple(of[each] for each in items) for of in (catalogue.texts, catalogue.features)))
    part = None if source.part is None else source.part[kept]
    return Source(source.spec, Interactions(*names, user, item, likes.time_ms[kept]), told, part, source.has_time)


def _movielens(spec: str, directory: Path, bad_lines: BadLines) -> Source:
    path = events_file(directory)
    if path is None:
        raise NotFoundError("holds no events.jsonl.gz or events.jsonl", field="data", value=str(directory),
                            remedy="check the path")  # fmt: skip
    titles: dict[str, str] = {}
    likes = list(_film_likes(path, titles, bad_lines))
    by_title = {film.title: film for film in films_in(directory, bad_lines).values()}
    films = {item: by_title.get(title) for item, title in titles.items()}
    texts = {item: ", ".join([titles[item], *(film.genres if film else [])]) for item, film in films.items()}
    return _source(spec, likes, texts, lambda item: film_columns(item, films[item]), has_time=True)


def _film_likes(path: Path, titles: dict[str, str], bad_lines: BadLines) -> Iterator[_Like]:
    """The likes in the order of time; every film met goes into `titles`."""
    for row in parse_lines(read_lines(require_file(path), bad_lines), parse_rating, bad_lines):
        titles[str(row.iid)] = row.title
        if row.label:
            yield _Like(str(row.uid), str(row.iid), 1000 * row.timestamp, row.split)


def _amazon(spec: str, directory: Path, bad_lines: BadLines) -> Source:
    sequences = user_sequences(directory, bad_lines)
    texts = item_texts(directory, bad_lines)
    likes = [_Like(user, item, place, "") for user, items in sequences for place, item in enumerate(items)]
    return _source(spec, likes, texts, lambda item: item_columns(item, texts.get(item, "")), has_time=False)


def _source(
    spec: str, likes: list[_Like], texts: dict[str, str], columns: Callable[[str], dict[str, Any]], *, has_time: bool
) -> Source:
    first = list({(like.user, like.item): like for like in reversed(likes)}.values())[::-1]
    first.sort(key=lambda like: like.time_ms)
    user_of = {name: number for number, name in enumerate(dict.fromkeys(like.user for like in first))}
    item_of = {name: number for number, name in enumerate(dict.fromkeys(like.item for like in first))}
    user = np.array([user_of[like.user] for like in first], dtype=np.int64)
    item = np.array([item_of[like.item] for like in first], dtype=np.int64)
    time_ms = np.array([like.time_ms for like in first], dtype=np.int64)
    marked = bool(first) and all(like.part for like in first)
    part = np.array([_PARTS[like.part] for like in first], dtype=np.int8) if marked else None
    catalogue = Catalogue(tuple(texts.get(name, "") for name in item_of), tuple(map(columns, item_of)))
    return Source(spec, Interactions(tuple(user_of), tuple(item_of), user, item, time_ms), catalogue, part, has_time)


READERS: dict[str, Callable[[str, Path, BadLines], Source]] = {"movielens": _movielens, "amazon": _amazon}

"""GroupLens's own MovieLens files: ml-1m and ml-100k, sorted by time, each user's likes remembered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from streams.contract.errors import NotFoundError
from streams.contract.events import Impression, Value
from streams.datasets.badlines import BadLines
from streams.datasets.clock import hour_of_day, weekday
from streams.datasets.history import RecentHistory
from streams.datasets.lines import Line, parse_lines, read_lines, split_fields, whole_number
from streams.datasets.observed import Observed, clicks
from streams.datasets.ordering import TimedText, sorted_by_time

LIKED_FROM = 4
_RATING = ("user", "film", "rating", "timestamp")
_YEAR = re.compile(r"\((\d{4})\)\s*$")
# fmt: off
_GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)
# fmt: on


class Film(NamedTuple):
    """A film as the catalogue tells it."""

    film_id: str
    title: str
    genres: list[str]

    @property
    def year(self) -> int | None:
        """The year in brackets at the title's end."""
        found = _YEAR.search(self.title)
        return int(found[1]) if found else None


class Person(NamedTuple):
    """A user as the catalogue tells it."""

    user_id: str
    gender: str
    age: int
    occupation: str


def open_native(directory: Path, bad_lines: BadLines) -> Iterator[Observed]:
    """The ratings in the order of time. Raises NotFoundError where there are none."""
    for name, separator in (("ratings.dat", "::"), ("u.data", "\t")):
        if (directory / name).exists():
            return _read(directory / name, separator, bad_lines)
    raise NotFoundError("holds no MovieLens data set", field="data", value=str(directory),
                        remedy="give a folder with events.jsonl.gz, ratings.dat or u.data")  # fmt: skip


def films_in(directory: Path, bad_lines: BadLines) -> dict[str, Film]:
    """Film id -> film, from movies.dat or u.item; empty where neither is there."""
    for name, parse in (("movies.dat", _film_1m), ("u.item", _film_100k)):
        if (directory / name).exists():
            lines = read_lines(directory / name, bad_lines, encoding="latin-1")
            return {film.film_id: film for film in parse_lines(lines, parse, bad_lines)}
    return {}


def _film_1m(line: Line) -> Film:
    film_id, title, genres = split_fields(line, "::", 3)
    return Film(film_id, title, genres.split("|"))


def _film_100k(line: Line) -> Film:
    fields = split_fields(line, "|", 5 + len(_GENRES_100K))
    return Film(fields[0], fields[1], [g for g, flag in zip(_GENRES_100K, fields[5:], strict=True) if flag == "1"])


def _people_in(directory: Path, bad_lines: BadLines) -> dict[str, Person]:
    for name, parse in (("users.dat", _person_1m), ("u.user", _person_100k)):
        if (directory / name).exists():
            lines = read_lines(directory / name, bad_lines, encoding="latin-1")
            return {person.user_id: person for person in parse_lines(lines, parse, bad_lines)}
    return {}


def _person_1m(line: Line) -> Person:
    user_id, gender, age, occupation, _ = split_fields(line, "::", 5)
    return Person(user_id, gender, whole_number(line, "age", age), occupation)


def _person_100k(line: Line) -> Person:
    user_id, age, gender, occupation, _ = split_fields(line, "|", 5)
    return Person(user_id, gender, whole_number(line, "age", age), occupation)


def _read(ratings: Path, separator: str, bad_lines: BadLines) -> Iterator[Observed]:
    films, people = films_in(ratings.parent, bad_lines), _people_in(ratings.parent, bad_lines)

    def timed(line: Line) -> TimedText:
        fields = split_fields(line, separator, 4)
        user, film, rating, seconds = (
            whole_number(line, name, text) for name, text in zip(_RATING, fields, strict=True)
        )
        return TimedText(1000 * seconds, line.number, f"{user}\t{film}\t{rating}")

    rows = sorted_by_time(parse_lines(read_lines(ratings, bad_lines), timed, bad_lines))
    history = RecentHistory()
    return (_observed(row, films, people, history) for row in rows)


def _observed(row: TimedText, films: dict[str, Film], people: dict[str, Person], history: RecentHistory) -> Observed:
    user_id, film_id, rating = row.text.split("\t")
    film, liked = films.get(film_id), int(rating) >= LIKED_FROM
    genres: Value = [*film.genres] if film else []
    impression = Impression(
        event_id=f"movielens-{row.number}",
        event_time_ms=row.time_ms,
        session_id=user_id,
        unit_id=user_id,
        ad_ids=[film_id],
        user=_user(user_id, people.get(user_id), history),
        context={"hour": hour_of_day(row.time_ms), "weekday": weekday(row.time_ms)},
        candidates={"movie_id": [film_id], "genres": [genres], "year": [film.year if film else None]},
    )
    if liked:
        history.add(user_id, film_id)
    return Observed(impression, clicks(impression, [film_id] if liked else []))


def _user(user_id: str, person: Person | None, history: RecentHistory) -> dict[str, Value]:
    liked: Value = [*history.of(user_id)]
    if person is None:
        return {"user_id": user_id, "history": liked}
    known: dict[str, Value] = {"gender": person.gender, "age": person.age, "occupation": person.occupation}
    return {"user_id": user_id, "history": liked, **known}

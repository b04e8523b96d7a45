"""MovieLens ratings as impressions of one film each, clicked where it was liked.

    events.jsonl.gz   {"uid", "iid", "label", "timestamp", "title", "his": [liked before], "split": of train, valid
                      or test, may be absent} in the order of time
    ml-1m             a folder with ratings.dat (user::film::rating::seconds), users.dat, movies.dat
    ml-100k           a folder with u.data (user, film, rating, seconds, tab-separated), u.user, u.item

Source: Harper and Konstan, "The MovieLens Datasets", 2015. A rating of 4 or 5 is a like, as in the
events' label. The ids of events.jsonl are their own: films meet movies.dat by title.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from streams.contract.errors import NotFoundError
from streams.contract.events import Impression, Value
from streams.datasets.badlines import BadLines
from streams.datasets.clock import RisingClock, hour_of_day, weekday
from streams.datasets.lines import Line, parse_lines, read_lines, require_file
from streams.datasets.movielens_native import Film, films_in, open_native
from streams.datasets.observed import Observed, clicks
from streams.datasets.options import DatasetOptions

MAX_HISTORY = 50
_NO_FILM = 0


def open_movielens(path: Path, options: DatasetOptions, bad_lines: BadLines) -> Iterator[Observed]:
    """The ratings in the order of time. Raises NotFoundError where `path` holds none of the known files."""
    if path.is_dir():
        events = events_file(path)
        return _open_events(events, bad_lines) if events else open_native(path, bad_lines)
    if path.name.removesuffix(".gz").endswith(".jsonl"):
        return _open_events(path, bad_lines)
    raise NotFoundError("is no MovieLens data set", field="data", value=str(path),
                        remedy="give events.jsonl.gz, or a folder with ratings.dat or u.data")  # fmt: skip


class RatingLine(msgspec.Struct):
    """One line of events.jsonl; `split` is the part of the data it belongs to, '' where the file marks none."""

    uid: int
    iid: int
    label: int
    timestamp: int
    title: str
    his: list[int]
    split: Literal["train", "valid", "test", ""] = ""


def events_file(directory: Path) -> Path | None:
    """The events of the folder, gzipped or plain; None where it holds none."""
    paths = (directory / name for name in ("events.jsonl.gz", "events.jsonl"))
    return next((path for path in paths if path.exists()), None)


def parse_rating(line: Line) -> RatingLine:
    """The line's fields, checked one by one. Raises FormatError naming the field."""
    try:
        row = msgspec.json.decode(line.text, type=RatingLine)
    except msgspec.MsgspecError as error:
        what, _, field = str(error).partition(" - at ")
        raise line.error(field.strip("`$.") or "line", what, line.text) from error
    if row.label not in (0, 1):
        raise line.error("label", "is neither 0 nor 1", row.label)
    return row


def film_columns(film_id: str, film: Film | None) -> dict[str, Value]:
    """What an impression tells of a film; `film` is None where the catalogue lacks it."""
    genres: Value = [*film.genres] if film else []
    return {"movie_id": film_id, "genres": genres, "year": film.year if film else None}


def _open_events(path: Path, bad_lines: BadLines) -> Iterator[Observed]:
    require_file(path)
    by_title = {film.title: film for film in films_in(path.parent, bad_lines).values()}
    return parse_lines(read_lines(path, bad_lines), _Reader(by_title).parse, bad_lines)


class _Reader:
    def __init__(self, by_title: dict[str, Film]) -> None:
        self._by_title = by_title
        self._clock = RisingClock()

    def parse(self, line: Line) -> Observed:
        row = parse_rating(line)
        time_ms = self._clock.advance(line, 1000 * row.timestamp)
        return self._observed(line, row, time_ms)

    def _observed(self, line: Line, row: RatingLine, time_ms: int) -> Observed:
        history: Value = [*[str(film) for film in row.his if film != _NO_FILM][-MAX_HISTORY:]]
        told = film_columns(str(row.iid), self._by_title.get(row.title))
        impression = Impression(
            event_id=f"movielens-{line.number}",
            event_time_ms=time_ms,
            session_id=str(row.uid),
            unit_id=str(row.uid),
            ad_ids=[str(row.iid)],
            user={"user_id": str(row.uid), "history": history},
            context={"hour": hour_of_day(time_ms), "weekday": weekday(time_ms)},
            candidates={name: [value] for name, value in told.items()},
        )
        return Observed(impression, clicks(impression, impression.ad_ids if row.label else []))

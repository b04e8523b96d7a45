"""Globo.com's news clicks: a folder of hourly files, bucketed by the start of the session.

    user_id, session_id, session_start, session_size, click_article_id, click_timestamp, environment,
    device group, os, country, region, referrer        all integers, times in milliseconds

Source: de Souza Pereira Moreira et al., "CHAMELEON", DLRS 2018. session_size tells the future and is
not read. The files tell clicks alone: each becomes an impression of the clicked article and of others
that were clicked in the hour before. Rows lie in the order of session starts and no click comes before
its session, so only the clicks of running sessions wait in memory for their turn.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from streams.contract.errors import NotFoundError
from streams.contract.events import Impression, Value
from streams.datasets.badlines import BadLines
from streams.datasets.clock import DAY_MS, HOUR_MS, hour_of_day, weekday
from streams.datasets.history import RecentHistory
from streams.datasets.lines import Line, parse_lines, read_lines, split_fields
from streams.datasets.observed import Observed, clicks
from streams.datasets.options import DatasetOptions
from streams.datasets.ordering import released_in_order
from streams.datasets.trailing import TrailingCounts, TrailingItems

COLUMNS = (
    "user_id,session_id,session_start,session_size,click_article_id,click_timestamp,click_environment,"
    "click_deviceGroup,click_os,click_country,click_region,click_referrer_type"
)
NUM_COLUMNS = COLUMNS.count(",") + 1
MAX_HISTORY = 20


class Click(NamedTuple):
    """One row; `place` is its file and line."""

    place: str
    user_id: str
    session_id: str
    session_start_ms: int
    article_id: str
    time_ms: int
    environment: int
    device_group: int
    os: int
    country: int
    region: int
    referrer: int


def open_globo(directory: Path, options: DatasetOptions, bad_lines: BadLines) -> Iterator[Observed]:
    """One impression a click, in the order of clicks; as many negatives as `options` ask and the hour before holds."""
    files = sorted(directory.glob("clicks_hour_*.csv*"))
    if not files:
        raise NotFoundError("holds no clicks_hour_NNN.csv.gz", field="data", value=str(directory),
                            remedy="give the folder of hourly click files")  # fmt: skip
    sampler = _Sampler(options)
    return (sampler.observe(click) for _, click in released_in_order(_rows(files, bad_lines)))


def _rows(files: list[Path], bad_lines: BadLines) -> Iterator[tuple[int, int, Click]]:
    reader = _Reader()
    for file in files:
        for click in parse_lines(read_lines(file, bad_lines), reader.parse, bad_lines):
            if click is not None:
                yield click.session_start_ms, click.time_ms, click


class _Reader:
    def __init__(self) -> None:
        self._session_start_ms = 0

    def parse(self, line: Line) -> Click | None:
        """The row, or None for a header. Raises FormatError."""
        fields = split_fields(line, ",", NUM_COLUMNS)
        if line.number == 1:
            if line.text != COLUMNS:
                raise line.error("header", "is not the header of a click file", line.text)
            return None
        try:
            user, session, start, _, article, time, *rest = map(int, fields)
        except ValueError as error:
            raise line.error("line", "holds something other than whole numbers", line.text) from error
        if start < self._session_start_ms:
            raise line.error("session_start", "is earlier than the row before", start, "sort the file by session_start")
        if time < start:
            raise line.error("click_timestamp", "is earlier than the session's start", time)
        self._session_start_ms = start
        place = f"{line.path.name.split('.')[0].removeprefix('clicks_hour_')}-{line.number}"
        return Click(place, str(user), str(session), start, str(article), time, *rest)


class _Sampler:
    """Draws each click's negatives and counts popularity, from the past alone."""

    def __init__(self, options: DatasetOptions) -> None:
        self._options = options
        self._rng = random.Random(options.seed)
        self._clicked = TrailingItems(HOUR_MS)
        self._popularity = {"clicks_hour": TrailingCounts(HOUR_MS), "clicks_day": TrailingCounts(DAY_MS)}
        self._history = RecentHistory(length=MAX_HISTORY)

    def observe(self, click: Click) -> Observed:
        self._clicked.advance(click.time_ms)
        articles = self._clicked.draw(
            self._rng, self._options.negatives, self._options.num_negatives, other_than=click.article_id
        )
        articles.insert(self._rng.randrange(len(articles) + 1), click.article_id)
        impression = self._impression(click, articles)
        self._history.add(click.user_id, click.article_id)
        self._clicked.add(click.time_ms, click.article_id)
        for counts in self._popularity.values():
            counts.add(click.time_ms, click.article_id)
        return Observed(impression, clicks(impression, [click.article_id]))

    def _impression(self, click: Click, articles: list[str]) -> Impression:
        columns: dict[str, list[Value]] = {"article_id": [*articles]}
        for name, counts in self._popularity.items():
            counts.advance(click.time_ms)
            columns[name] = [counts.count(article) for article in articles]
        return Impression(
            event_id=f"globo-{click.place}",
            event_time_ms=click.time_ms,
            session_id=click.session_id,
            unit_id=click.user_id,
            ad_ids=articles,
            user=self._user(click),
            context=_context(click),
            candidates=columns,
        )

    def _user(self, click: Click) -> dict[str, Value]:
        history = self._history.of(click.user_id)
        return {
            "user_id": click.user_id,
            "device_group": click.device_group,
            "os": click.os,
            "country": click.country,
            "region": click.region,
            "history": [*history],
            "last_article": history[-1] if history else None,
        }


def _context(click: Click) -> dict[str, Value]:
    return {
        "environment": click.environment,
        "referrer": click.referrer,
        "hour": hour_of_day(click.time_ms),
        "weekday": weekday(click.time_ms),
        "session_age_ms": click.time_ms - click.session_start_ms,
    }

"""MIND's news impressions: a folder with behaviors.tsv and, where it is there, news.tsv.

    behaviors.tsv   id, user, time (11/12/2019 2:14:46 PM), history (ids), candidates (id-0 or id-1)
    news.tsv        id, category, subcategory, title, ...

Source: Wu et al., "MIND: A Large-scale Dataset for News Recommendation", ACL 2020. The log is
not in the order of time, so it is sorted; it does not say when after the impression a click came.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from streams.contract.events import Impression, Value
from streams.datasets.badlines import BadLines
from streams.datasets.clock import DAY_MS, HOUR_MS, hour_of_day, weekday
from streams.datasets.lines import Line, find_file, parse_lines, read_lines, split_fields
from streams.datasets.observed import Observed, clicks
from streams.datasets.options import DatasetOptions
from streams.datasets.ordering import TimedText, sorted_by_time
from streams.datasets.trailing import TrailingCounts

MAX_HISTORY = 50


class News(NamedTuple):
    """What is known of one article."""

    news_id: str
    category: str
    subcategory: str


def open_mind(directory: Path, options: DatasetOptions, bad_lines: BadLines) -> Iterator[Observed]:
    """The impressions in the order of time. Memory: one sorted chunk, the catalogue, a day's candidates."""
    behaviors = find_file(directory, "behaviors.tsv")
    has_news = any((directory / name).exists() for name in ("news.tsv", "news.tsv.gz"))
    news = find_file(directory, "news.tsv") if has_news else None
    return _read(behaviors, news, bad_lines)


def _read(behaviors: Path, news: Path | None, bad_lines: BadLines) -> Iterator[Observed]:
    catalogue: dict[str, News] = {}
    if news is not None:
        catalogue = {n.news_id: n for n in parse_lines(read_lines(news, bad_lines), _news, bad_lines)}
    timed = sorted_by_time(parse_lines(read_lines(behaviors, bad_lines), _timed, bad_lines))
    lines = (Line(behaviors, row.number, row.text) for row in timed)
    return parse_lines(lines, _Reader(catalogue).parse, bad_lines)


def _news(line: Line) -> News:
    return News(*split_fields(line, "\t", 8)[:3])


def _timed(line: Line) -> TimedText:
    return TimedText(_time_ms(line, split_fields(line, "\t", 5)[2]), line.number, line.text)


def _time_ms(line: Line, text: str) -> int:
    try:
        moment = datetime.strptime(text, "%m/%d/%Y %I:%M:%S %p").replace(tzinfo=UTC)
    except ValueError as error:
        raise line.error("time", "is not a time like 11/12/2019 2:14:46 PM", text) from error
    return int(moment.timestamp()) * 1000


class _Reader:
    """Turns sorted lines into impressions; keeps what the articles brought in the hour and day before."""

    def __init__(self, catalogue: dict[str, News]) -> None:
        self._catalogue = catalogue
        self._trailing = {
            "clicks_hour": TrailingCounts(HOUR_MS),
            "clicks_day": TrailingCounts(DAY_MS),
            "views_hour": TrailingCounts(HOUR_MS),
            "views_day": TrailingCounts(DAY_MS),
        }

    def parse(self, line: Line) -> Observed:
        impression_id, user, time, history, shown = split_fields(line, "\t", 5)
        time_ms = _time_ms(line, time)
        ids, labels = _candidates(line, shown)
        clicked = [news_id for news_id, label in zip(ids, labels, strict=True) if label]
        impression = Impression(
            event_id=f"mind-{impression_id}",
            event_time_ms=time_ms,
            session_id=user,
            unit_id=user,
            ad_ids=ids,
            user=_user(user, history.split()),
            context={"hour": hour_of_day(time_ms), "weekday": weekday(time_ms), "num_candidates": len(ids)},
            candidates=self._columns(time_ms, ids),
        )
        self._learn(time_ms, ids, clicked)
        return Observed(impression, clicks(impression, clicked))

    def _columns(self, time_ms: int, ids: list[str]) -> dict[str, list[Value]]:
        known = [self._catalogue.get(news_id) for news_id in ids]
        columns: dict[str, list[Value]] = {
            "news_id": list(ids),
            "category": [n.category if n else None for n in known],
            "subcategory": [n.subcategory if n else None for n in known],
        }
        for name, items in self._trailing.items():
            items.advance(time_ms)
            columns[name] = [items.count(news_id) for news_id in ids]
        return columns

    def _learn(self, time_ms: int, shown: list[str], clicked: list[str]) -> None:
        for name, items in self._trailing.items():
            for news_id in clicked if name.startswith("clicks") else shown:
                items.add(time_ms, news_id)


def _user(user: str, history: list[str]) -> dict[str, Value]:
    newest: Value = [*history[-MAX_HISTORY:]]
    return {"user_id": user, "history": newest, "history_length": len(history)}


def _candidates(line: Line, shown: str) -> tuple[list[str], list[bool]]:
    ids, labels = [], []
    for part in shown.split():
        news_id, dash, label = part.rpartition("-")
        if not dash or not news_id or label not in ("0", "1"):
            raise line.error("candidates", "is not a news id with -0 or -1", part)
        ids.append(news_id)
        labels.append(label == "1")
    if not ids:
        raise line.error("candidates", "has no candidate")
    if len(set(ids)) != len(ids):
        raise line.error("candidates", "names a candidate twice", shown)
    return ids, labels

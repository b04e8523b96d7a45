"""Amazon reviews as sequences: a folder with user_sequence.txt and item_generative_indexing_phase_0.txt.

    user_sequence.txt                       user item item ...      oldest first
    item_generative_indexing_phase_0.txt    item words ...          a short text; a few items have none

Source: He and McAuley, "Ups and Downs", WWW 2016, as prepared for P5 (Geng et al., RecSys 2022). The
files tell an order, but no time: users come one after the other, one event a second. Each event
becomes an impression of the item and of others taken in the hour before.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from streams.contract.events import Impression, Value
from streams.datasets.badlines import BadLines
from streams.datasets.clock import HOUR_MS, ORDER_START_MS
from streams.datasets.lines import Line, find_file, parse_lines, read_lines
from streams.datasets.observed import Observed, clicks
from streams.datasets.options import DatasetOptions
from streams.datasets.trailing import TrailingItems

MAX_HISTORY = 50


def open_amazon(directory: Path, options: DatasetOptions, bad_lines: BadLines) -> Iterator[Observed]:
    """One impression an event, user after user. Memory: the catalogue of item texts."""
    sequences = user_sequences(directory, bad_lines)
    return _read(sequences, item_texts(directory, bad_lines), options)


def user_sequences(directory: Path, bad_lines: BadLines) -> Iterator[tuple[str, list[str]]]:
    """(user, items oldest first) one after the other. Raises NotFoundError at once where the file is absent."""
    path = find_file(directory, "user_sequence.txt")
    return parse_lines(read_lines(path, bad_lines), _sequence, bad_lines)


def item_texts(directory: Path, bad_lines: BadLines) -> dict[str, str]:
    """Item -> its text. Raises NotFoundError where the file is absent."""
    path = find_file(directory, "item_generative_indexing_phase_0.txt")
    return dict(parse_lines(read_lines(path, bad_lines), _text, bad_lines))


def item_columns(item: str, text: str) -> dict[str, Value]:
    """What an impression tells of an item."""
    return {"item_id": item, "words": [*text.split()]}


def _read(
    sequences: Iterator[tuple[str, list[str]]], texts: dict[str, str], options: DatasetOptions
) -> Iterator[Observed]:
    sampler = _Sampler(options, texts)
    for user_id, items in sequences:
        for place in range(len(items)):
            yield sampler.observe(user_id, items, place)


def _text(line: Line) -> tuple[str, str]:
    item, space, text = line.text.partition(" ")
    if not item or not space:
        raise line.error("line", "is not an item, a space and its text", line.text)
    return item, text


def _sequence(line: Line) -> tuple[str, list[str]]:
    user_id, *items = line.text.split(" ")
    if not user_id or not items or "" in items:
        raise line.error("line", "is not a user and items with one space between", line.text)
    return user_id, items


class _Sampler:
    def __init__(self, options: DatasetOptions, texts: dict[str, str]) -> None:
        self._options = options
        self._rng = random.Random(options.seed)
        self._texts = texts
        self._taken = TrailingItems(HOUR_MS)
        self._now_ms = ORDER_START_MS

    def observe(self, user_id: str, items: list[str], place: int) -> Observed:
        self._now_ms += 1000
        self._taken.advance(self._now_ms)
        item = items[place]
        shown = self._taken.draw(self._rng, self._options.negatives, self._options.num_negatives, other_than=item)
        shown.insert(self._rng.randrange(len(shown) + 1), item)
        self._taken.add(self._now_ms, item)
        history: Value = [*items[max(0, place - MAX_HISTORY) : place]]
        told = [item_columns(each, self._texts.get(each, "")) for each in shown]
        impression = Impression(
            event_id=f"amazon-{user_id}-{place}",
            event_time_ms=self._now_ms,
            session_id=user_id,
            unit_id=user_id,
            ad_ids=shown,
            user={"user_id": user_id, "history": history},
            candidates={name: [each[name] for each in told] for name in ("item_id", "words")},
        )
        return Observed(impression, clicks(impression, [item]))

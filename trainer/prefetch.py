"""Batches read, decoded and prepared in the order of turns; a thread makes them ahead (streams/turns/ahead.py)."""

from __future__ import annotations

from collections.abc import Iterator

from streams.turns.source import ExampleSource
from trainer.prepare import OnBadRequest, Prepared, Preparer


def prepared_turns(source: ExampleSource, prepare: Preparer, on_bad_request: OnBadRequest) -> Iterator[Prepared]:
    """One a turn until the source ends; the last has nothing to learn, and where the log stands then."""
    while (turn := source.next_turn()) is not None:
        learnable = None if turn.examples is None else prepare.good(turn.examples, on_bad_request)
        yield Prepared(learnable, turn.cursor)
    yield Prepared(None, source.cursor)

"""Where in the `examples` topic the trainer stands: all that a restart needs to go on as if nothing had happened."""

from __future__ import annotations

from typing import Any

import msgspec

from streams.contract.errors import FormatError


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """The next example of each partition, whose turn it is, and what was passed over so far.

    positions[p] = (offset, row): the next example is row `row` of the record at `offset` or, where
    that record is shorter or holds something else, the first one behind it.
    """

    positions: tuple[tuple[int, int], ...]
    turn: int = 0
    """Where the search for the next partition begins, among those that have come equally far."""
    finished: tuple[bool, ...] = ()
    settled_ms: tuple[int, ...] = ()
    """How far each partition has come, see streams/turns/turns.py; empty before the first turn."""
    passed_over: tuple[int, ...] = ()
    """For each partition, the turns of others since its own; empty before the first turn."""
    num_other_kind: int = 0
    """Examples of another kind than the one learnt."""
    num_undecodable: int = 0
    """Records that could not be decoded."""

    def offsets(self, topic: str) -> dict[str, list[int]]:
        """The positions as a manifest has them: `topic[partition]` -> [offset, row]."""
        return {f"{topic}[{p}]": list(position) for p, position in enumerate(self.positions)}


def cursor_at(offsets: list[int]) -> Cursor:
    """The cursor that begins each partition at an offset."""
    return Cursor(positions=tuple((offset, 0) for offset in offsets), finished=(False,) * len(offsets))


def cursor_to_state(cursor: Cursor) -> Any:
    """The cursor as plain values, for a checkpoint's JSON."""
    return msgspec.to_builtins(cursor)


def cursor_from_state(state: Any) -> Cursor:
    """The inverse of `cursor_to_state`. Raises FormatError."""
    try:
        return msgspec.convert(state, Cursor)
    except msgspec.ValidationError as error:
        raise FormatError(f"is not a position in the log: {error}", field="cursor", value=state) from error

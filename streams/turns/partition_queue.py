"""The records of one partition, decoded ahead, cut into runs of examples at any row."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from streams.contract.errors import FormatError
from streams.contract.examples import ExampleBatch, Mark, decode_examples
from streams.log.event_log import Record


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A record that is neither examples nor a mark, and why."""

    record: Record
    reason: str


@dataclass(frozen=True, slots=True)
class Piece:
    """What stands at (offset, row): examples, a mark, or a record that could not be read."""

    offset: int
    row: int
    content: ExampleBatch | Mark | Undecodable


class PartitionQueue:
    """Pieces in order. `next_offset`: where to read on; `position`: (offset, row) of the next piece to take."""

    def __init__(self, position: tuple[int, int]) -> None:
        self.position = position
        self.next_offset = position[0]
        self._pieces: deque[Piece] = deque()

    def __len__(self) -> int:
        return len(self._pieces)

    def extend(self, records: Sequence[Record]) -> None:
        """Decodes records, in order; rows before the position are left out."""
        for record in records:
            row = self.position[1] if record.offset == self.position[0] else 0
            self._pieces.append(Piece(record.offset, row, _decode(record)))
            self.next_offset = record.offset + 1

    def take(self, most_examples: int) -> Piece:
        """The next piece; of an example batch at most so many rows, the rest stays. It must not be empty."""
        piece = self._pieces.popleft()
        content = piece.content
        if not isinstance(content, ExampleBatch):
            self.position = (piece.offset + 1, 0)
            return piece
        stop = piece.row + most_examples
        if stop < len(content):
            self._pieces.appendleft(Piece(piece.offset, stop, content))
            self.position = (piece.offset, stop)
        else:
            self.position = (piece.offset + 1, 0)
        whole = piece.row == 0 and stop >= len(content)
        return piece if whole else Piece(piece.offset, piece.row, content.slice(piece.row, stop))


def _decode(record: Record) -> ExampleBatch | Mark | Undecodable:
    try:
        return decode_examples(record.value)
    except FormatError as error:
        return Undecodable(record, str(error))

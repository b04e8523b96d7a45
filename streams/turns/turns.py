"""Whose turn it is: the partition's that has come least far in time, so that none falls behind the others.

A strict rotation lets a partition fall behind without end where it has more batches between two marks
than another, since both get as many turns. Here the times in the records decide, which a restart
finds again: the wall clock of the last label settled, or of the last mark, that was taken from each
partition. Equals take turns, as do all where no record says a time.

A clock that is wrong must not starve a partition: after `MOST_PASSED_OVER` turns of others it has one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streams.turns.cursor import Cursor

MOST_PASSED_OVER = 256
"""Many more than the batches between two marks, so that clocks that agree never come to it."""


def whose_turn(cursor: Cursor, open_partitions: Sequence[int]) -> int | None:
    """The partition to take a batch from; None where all have ended."""
    if not open_partitions:
        return None
    count = len(cursor.positions)
    settled_ms, passed_over = _per_partition(cursor.settled_ms, count), _per_partition(cursor.passed_over, count)
    starved = [partition for partition in open_partitions if passed_over[partition] >= MOST_PASSED_OVER]
    return min(starved or open_partitions, key=lambda p: (settled_ms[p], (p - cursor.turn) % count))


def after_turn(cursor: Cursor, partition: int, settled_ms: int, open_partitions: Sequence[int]) -> Cursor:
    """Where the turns stand once `partition` had one that came as far as `settled_ms` (0: it did not say)."""
    count = len(cursor.positions)
    times, passed_over = _per_partition(cursor.settled_ms, count), _per_partition(cursor.passed_over, count)
    times[partition] = settled_ms or times[partition]
    waiting = set(open_partitions) - {partition}
    passed_over = [passed + 1 if p in waiting else 0 for p, passed in enumerate(passed_over)]
    return msgspec.structs.replace(
        cursor, turn=(partition + 1) % count, settled_ms=tuple(times), passed_over=tuple(passed_over)
    )


def _per_partition(values: Sequence[int], count: int) -> list[int]:
    return list(values) or [0] * count

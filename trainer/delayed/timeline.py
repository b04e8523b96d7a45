"""A recorded log as it would have been heard of: what is shown, and what the join emits, by event time.

    window     I shown (t=0) ─── click (t=3) ─── t=window: emission, label 1 ─── click (t=late): correction
    at-once    I shown, emission with labels 0 ─── click: correction
    final      I shown, emission with the labels that the log ends with

The rules are those of the join that emits positives at the close (docs/join.md), as a function of the recording:
no log, no state on disk. What waits for its time is held in memory: windows, and the clicks to come.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from streams.datasets.observed import Observed
from streams.join.example_builder import Emission, Given
from trainer.delayed.config import LabelsWanted
from trainer.instant_join import emission


@dataclass(frozen=True, slots=True)
class Shown:
    """An impression with the labels that its examples end with: to be predicted and scored, not learnt."""

    final: Emission


@dataclass(frozen=True, slots=True)
class Heard:
    """What the join emits at `time_ms`: to be learnt."""

    time_ms: int
    emission: Emission


def timeline(
    observed: Iterable[Observed], *, kind: str, labels: LabelsWanted, window_ms: int
) -> Iterator[Shown | Heard]:
    """Impressions (by time) and emissions in order. Ends with the last impression: what is heard later is left out.

    `window_ms` is for `labels` = window, 1 or more.
    """
    waiting: list[tuple[int, int, Emission]] = []
    number = 0
    for each in observed:
        if not each.impression.ad_ids:
            continue
        now_ms = each.impression.event_time_ms
        while waiting and waiting[0][0] <= now_ms:
            time_ms, _, due = heapq.heappop(waiting)
            yield Heard(time_ms, due)
        final = emission(each, kind)
        yield Shown(final)
        for delay_ms, due in _emissions(final, labels, window_ms):
            number += 1
            due.decided_time_ms = now_ms + delay_ms
            heapq.heappush(waiting, (due.decided_time_ms, number, due))


def _emissions(final: Emission, labels: LabelsWanted, window_ms: int) -> Iterator[tuple[int, Emission]]:
    """(milliseconds after the impression, what is emitted then); the first emission before its corrections."""
    if labels == "final":
        yield 0, final
        return
    wait_ms = window_ms if labels == "window" else 0
    in_time = {row: given for row, given in final.given.items() if given.delay_ms < wait_ms}
    yield wait_ms, _part(final, wait_ms, range(len(final.impression.ad_ids)), in_time)
    for row, given in final.given.items():
        if row not in in_time:
            yield given.delay_ms, _part(final, given.delay_ms, [row], {row: given}, correction=True)


def _part(
    final: Emission, after_ms: int, rows: range | list[int], given: dict[int, Given], *, correction: bool = False
) -> Emission:
    return Emission(
        kind=final.kind, impression=final.impression, num_bytes=0, rows=rows, given=given, correction=correction,
        decided_ingest_ms=final.decided_ingest_ms, decided_time_ms=final.impression.event_time_ms + after_ms,
    )  # fmt: skip

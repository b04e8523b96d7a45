"""What the trainer hands to a publisher: everything that changed since the last version it took.

The loop offers; the publisher gates, commits and reports. A delta owns its arrays: the loop goes
on learning while a publisher works on one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from streams.contract.columns import Array
from streams.contract.manifest import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the model has learnt. `offsets`: `topic[partition]` -> [offset, row] of the next example to learn."""

    step: int
    examples: int
    offsets: dict[str, list[int]]
    newest_event_time_ms: int
    newest_ingest_ms: int
    ingest_quantiles_ms: list[int]
    """`decided_ingest_ms` of the examples learnt since the last version, at 0, 1, ... 100 %; empty without any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowScores:
    """The newest W examples, scored before they were learnt; oldest first.

    label, probability (W,) float32; served_probability (W,) float32, nan where unknown;
    served_version (W,) int64, the version that answered (0 where none did).
    """

    label: Array
    probability: Array
    served_probability: Array
    served_version: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """One candidate for a version.

    dense        DenseNetwork.state_dict() as float32 arrays, "default_rows" (T, D), and the calibration's tensors
                 where there is one (streams/contract/calibration.py)
    rows         table -> ids (N,) and values (N, D) changed since the last version taken
    tombstones   table -> ids (N,) evicted since then
    ads          (A, F) int64: id tuples of the ads seen since then, columns named by `ad_keys`
    full         `rows` holds every admitted row, not the changed ones alone: what it lacks is gone. Given
                 where the publisher wants it, and unasked where too much was evicted since to name it all
    """

    dense: dict[str, Array]
    rows: dict[str, Rows]
    tombstones: dict[str, Array]
    ads: Array
    ad_keys: tuple[str, ...]
    progress: Progress
    metrics: dict[str, float]
    window: WindowScores
    full: bool = False
    recipe: str = ""
    tables: dict[str, int] = field(default_factory=dict)
    """Table -> dimension, in the schema's order."""


@runtime_checkable
class Publisher(Protocol):
    """Takes deltas and makes versions of them. Called from the training thread: nothing here may wait."""

    def due(self) -> bool:
        """Whether a delta is wanted now. False while one that was taken is still being committed."""

    def wants_full(self) -> bool:
        """Whether the next delta must hold every row: the first of a new generation."""

    def offer(self, delta: Delta) -> bool:
        """Gates the delta; True where it was taken and will be committed, False where it was refused.

        What is refused stays in the trainer's account and comes again in the next delta. A delta
        that was taken and then lost (due() is True again, last_step() below its step) does too.
        """

    def last_step(self) -> int:
        """The step of the newest version committed for this generation, -1 where there is none."""

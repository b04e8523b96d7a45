"""What may go from Redis: generations nobody needs, and tombstones everybody has seen."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass

from streams.contract.errors import ConflictError, InputError, NotFoundError
from streams.contract.manifest import Generation
from streams.store.row_store import RowStore

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionConfig:
    """`num_generations` whole ones are kept, and each for `grace_seconds` after a newer one came."""

    num_generations: int = 3
    grace_seconds: float = 600.0
    tombstone_seconds: float = 600.0
    """How far a scorer may be behind and still tell an evicted row from one that never was."""

    def __post_init__(self) -> None:
        if not 0 <= self.tombstone_seconds < math.inf:
            raise InputError("must not be negative, and finite", field="tombstone_seconds",
                             value=self.tombstone_seconds, remedy="give 0 or more")  # fmt: skip


def clean_up(store: RowStore, current: Generation | None, config: RetentionConfig) -> None:
    """Collects what may go. The live generation and the `current` one of the trainer always stay."""
    if current is None:
        return
    now_ms = time.time_ns() // 1_000_000
    for number in collectable(store, current, config, now_ms):
        try:
            store.collect(number)
        except (ConflictError, NotFoundError) as error:
            _LOG.info("generation %d is not collected: %s", number, error)
    if current.generation in store.generations():
        store.writer(current.generation).drop_tombstones(now_ms - round(1000 * config.tombstone_seconds))


def collectable(store: RowStore, current: Generation, config: RetentionConfig, now_ms: int) -> list[int]:
    """Generations older than `current` that nobody needs any more, oldest first."""
    older = [number for number in store.generations() if number < current.generation]
    live = store.live()
    whole = [number for number in older if store.head(number) is not None]
    spare = set(whole[: max(0, len(whole) + 1 - config.num_generations)]) | (set(older) - set(whole))
    replaced_ms = _replaced_at(store, older, current)
    return [n for n in older if n in spare and n != live and replaced_ms[n] + 1000 * config.grace_seconds < now_ms]


def _replaced_at(store: RowStore, older: list[int], current: Generation) -> dict[int, int]:
    """When the generation after each of them was made."""
    made = [*(store.generation(number).created_ms for number in older), current.created_ms]
    return dict(zip(older, made[1:], strict=True))

"""Loads a generation from the store and brings it to one consistent version.

    1. manifest, programs                    4. rows, up to the memory's capacity
    2. head: the version to start from       5. versions of model-updates behind the head
    3. dense parameters                      6. warm-up

The store may be written to meanwhile, so 3 and 4 may bring parts newer than the head; the log holds
every such version whole, and is applied (5) until none of the parts is newer than the result. Where
the log is away, a store that is between two versions will do.
"""

from __future__ import annotations

import logging
import time

from serving.scorer.config import ScorerConfig
from serving.scorer.keys import distinct
from serving.scorer.log_link import LogLink
from serving.scorer.programs import Programs
from serving.scorer.served_generation import ServedGeneration
from serving.scorer.updates import UPDATES, follow_up
from serving.scorer.warm_up import warm_up
from streams.contract.errors import NotFoundError
from streams.store.row_store import RowStore

_LOG = logging.getLogger(__name__)


def load_generation(store: RowStore, log: LogLink, number: int, config: ScorerConfig) -> ServedGeneration:
    """The generation, warm and at one version. Raises UnavailableError, NotFoundError, FormatError."""
    started = time.monotonic()
    # 1. manifest, programs
    generation = store.generation(number)
    programs = Programs(store.programs(number), bfloat16=config.precision == "bfloat16")
    # 2. head
    head = store.head(number)
    if head is None:
        raise NotFoundError("has no whole version", field="generation", value=number)
    served = ServedGeneration(generation, head, programs, config)
    # 3. dense parameters
    newest, dense = store.dense(number)
    served.check_dense(dense)
    served.set_dense(dense)
    # 4. rows
    newest = max(newest, _preload(store, served, config.max_hot_rows))
    # 5. versions behind the head
    follow_up(log, UPDATES, served, newest, config.load_timeout_seconds)
    # 6. warm-up
    warm_up(served, config.warm_up_candidates)
    _LOG.info("generation %d at version %d loaded: %d rows in %.2f s", number, served.version, len(served.rows),
              time.monotonic() - started)  # fmt: skip
    return served


def _preload(store: RowStore, served: ServedGeneration, capacity: int) -> int:
    """Fills the hot rows; returns the newest version met."""
    newest = 0
    for chunk in store.scan_rows(served.generation.generation):
        once = distinct(chunk.tables, chunk.ids)
        once = once[chunk.rows.found[once]][: capacity - len(served.rows)]
        newest = max(newest, int(chunk.rows.versions.max(initial=0)))
        served.rows.put(chunk.tables[once].astype("int16"), chunk.ids[once], chunk.rows.values[once])
        if len(served.rows) >= capacity:
            break
    return newest

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
from serving.scorer.version import check_dense
from serving.scorer.warm_up import warm_up
from streams.contract.errors import NotFoundError, UnavailableError
from streams.contract.manifest import Manifest
from streams.log.event_log import MODEL_UPDATES, EventLog, Record, TopicPartition
from streams.store.row_store import RowStore

_LOG = logging.getLogger(__name__)
UPDATES = TopicPartition(MODEL_UPDATES, 0)
_READ_RECORDS = 64


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
    check_dense(dense, generation, programs)
    served.set_dense(dense)
    # 4. rows
    newest = max(newest, _preload(store, served, config.max_hot_rows))
    # 5. versions behind the head
    try:
        _follow_up(log.log, served, head, newest, config.load_timeout_seconds)
    except UnavailableError as error:
        if served.version < newest:
            raise
        _LOG.warning("scores begin stale: %s", error)
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


def _follow_up(log: EventLog, served: ServedGeneration, head: Manifest, newest: int, timeout_seconds: float) -> None:
    """Applies the log to its end, and at least up to version `newest`."""
    deadline = time.monotonic() + timeout_seconds
    served.next_offset = int(head.extra.get("updates_offset", served.generation.updates_offset))
    served.next_offset = max(served.next_offset, _oldest(log))
    while True:
        records = read_updates(log, served.next_offset)
        served.follow(records)
        served.apply_waiting()
        if not records and served.version >= newest:
            return
        if time.monotonic() > deadline:
            raise UnavailableError(f"version {newest} is in the store and not in model-updates", field="log",
                                   value=log.address, remedy="see that scorer and trainer use one log")  # fmt: skip
        if not records:
            time.sleep(0.01)


def read_updates(log: EventLog, offset: int, timeout_seconds: float = 0.0) -> list[Record]:
    """The next records of `model-updates`; none where nobody has made the topic yet.

    Raises UnavailableError, and InputError where the records at `offset` are kept no longer.
    """
    try:
        return log.read({UPDATES: offset}, max_records=_READ_RECORDS, timeout_seconds=timeout_seconds)
    except NotFoundError:
        time.sleep(timeout_seconds)
        return []


def _oldest(log: EventLog) -> int:
    """The oldest record kept."""
    try:
        return log.begin_offsets([UPDATES])[UPDATES]
    except NotFoundError:
        return 0

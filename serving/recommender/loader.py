"""Loads a generation from the store and brings it to one consistent version.

    1. manifest, head, programs      3. rows of items, all; of users and histories, up to the memory's capacity
    2. dense part: the new items     4. versions of recommender-updates behind the head      5. warm-up

As with the scorer (serving/scorer/loader.py), 2 and 3 may bring parts newer than the head, and the log is
followed (4) until none of the parts is newer than the result.
"""

from __future__ import annotations

import logging
import time

import numpy as np

from serving.recommender.catalogue import Catalogue
from serving.recommender.config import MAX_USERS, UPDATES, RecommenderConfig
from serving.recommender.language_model import load_language_model
from serving.recommender.served_generation import ServedRecommender
from serving.recommender.warm_up import warm_up
from serving.scorer.keys import distinct
from serving.scorer.log_link import LogLink
from serving.scorer.updates import follow_up
from streams.contract.errors import NotFoundError
from streams.store.row_store import RowStore

_LOG = logging.getLogger(__name__)
_ITEMS_A_TRIP = 8192


def load_generation(store: RowStore, log: LogLink, number: int, config: RecommenderConfig) -> ServedRecommender:
    """The generation, warm and at one version. Raises UnavailableError, NotFoundError, FormatError, InputError."""
    started = time.monotonic()
    # 1. manifest, head, programs
    generation = store.generation(number)
    head = store.head(number)
    if head is None:
        raise NotFoundError("has no whole version", field="generation", value=number)
    language_model, items = load_language_model(store.programs(number), max_users=MAX_USERS, device=config.device)
    served = ServedRecommender(generation, head, language_model, Catalogue(items), config)
    # 2. dense part
    newest, dense = store.dense(number)
    served.set_dense(dense)
    # 3. rows
    newest = max(newest, _load_items(store, served), _preload(store, served, config.max_hot_rows))
    # 4. versions behind the head
    follow_up(log, UPDATES, served, newest, config.load_timeout_seconds)
    # 5. warm-up
    warm_up(served, config.warm_up_likes)
    _LOG.info("generation %d at version %d loaded: %d items, %d rows of users in %.2f s", number, served.version,
              len(served.catalogue), len(served.rows), time.monotonic() - started)  # fmt: skip
    return served


def _load_items(store: RowStore, served: ServedRecommender) -> int:
    """Sets the rows of the catalogue's items; returns the newest version met."""
    newest = 0
    for start in range(0, len(served.catalogue), _ITEMS_A_TRIP):
        numbers = np.arange(start, min(start + _ITEMS_A_TRIP, len(served.catalogue)), dtype=np.int64)
        rows = store.fetch_rows(served.generation.generation, {served.items_table: numbers})
        served.language_model.put_items(numbers[rows.found], rows.values[rows.found])
        newest = max(newest, int(rows.versions.max()))
    return newest


def _preload(store: RowStore, served: ServedRecommender, capacity: int) -> int:
    """Fills the hot rows; returns the newest version met."""
    newest = 0
    for chunk in store.scan_rows(served.generation.generation):
        if len(served.rows) >= capacity:
            break
        once = distinct(chunk.tables, chunk.ids)
        once = once[chunk.rows.found[once] & (chunk.tables[once] != served.items_table)]
        once = once[: capacity - len(served.rows)]
        newest = max(newest, int(chunk.rows.versions.max(initial=0)))
        served.rows.put(chunk.tables[once].astype(np.int16), chunk.ids[once], chunk.rows.values[once])
    return newest

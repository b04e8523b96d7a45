"""Deltas from a learner: what a publisher is offered."""

from __future__ import annotations

import numpy as np

from streams.contract.columns import Array
from streams.contract.manifest import Rows
from streams.counters.rows import served_tables
from streams.turns.cursor import Cursor
from streams.versions.delta import Delta, Progress, Publisher
from trainer.learner import Learner
from trainer.model.network import network_state
from trainer.model.tables import DEFAULT_ROW


class Offering:
    """Offers a learner's changes to a publisher whenever it wants some, and keeps account of what it took."""

    def __init__(self, learner: Learner, publisher: Publisher, topic: str) -> None:
        self._learner = learner
        self._publisher = publisher
        self._topic = topic
        self.num_taken = 0
        self.num_refused = 0

    def offer_if_due(self, cursor: Cursor) -> bool:
        """Offers a delta where the publisher wants one and the model is ahead of what is published; whether taken.

        A restarted trainer begins behind what it had published: it offers nothing until it is ahead again, nor
        does one that has learnt nothing.
        """
        if not self._publisher.due():
            return False
        newest = self._publisher.last_step()
        accounts = self._learner.accounts_of_changes
        for changes in accounts:
            changes.settle(newest)
        if self._learner.counters.step <= max(newest, 0):
            return False
        full = self._publisher.wants_full() or any(changes.since.overflowed for changes in accounts)
        taken = self._publisher.offer(build_delta(self._learner, cursor, self._topic, full))
        if taken:
            for changes in accounts:
                changes.taken(self._learner.counters.step)
        self.num_taken += taken
        self.num_refused += not taken
        return taken


def build_delta(learner: Learner, cursor: Cursor, topic: str, full: bool) -> Delta:
    """All changes that are not with a publisher yet, in arrays of its own; with `full`, every admitted row."""
    since, names = learner.changes.since, learner.tables.names
    slots = learner.vocabulary.items().slots if full else learner.vocabulary.admitted_slots(since.touched)
    defaults = [learner.tables.read_rows(name, np.array([DEFAULT_ROW])) for name in names]
    counting = learner.online
    return Delta(
        dense={
            **{name: np.array(tensor) for name, tensor in network_state(learner.network).items()},
            "default_rows": np.concatenate([*defaults, *([counting.default_rows()] if counting is not None else [])]),
            **(learner.calibration.map.tensors() if learner.calibration is not None else {}),
        },
        rows={**_rows(learner, slots), **(counting.rows(full=full) if counting is not None else {})},
        tombstones={**_tombstones(learner), **(counting.tombstones() if counting is not None else {})},
        ads=since.ads.rows(),
        ad_keys=learner.ad_keys,
        progress=_progress(learner, cursor, topic),
        metrics=_metrics(learner),
        window=learner.progressive.newest(),
        full=full,
        recipe=learner.recipe.name,
        tables=served_tables(learner.schema),
    )


def _rows(learner: Learner, slots: Array) -> dict[str, Rows]:
    tables, ids = learner.vocabulary.ids_at(slots)
    rows: dict[str, Rows] = {}
    for number in np.unique(tables).tolist():
        own, name = tables == number, learner.tables.names[number]
        places = slots[own] - learner.vocabulary.offsets[number]
        rows[name] = Rows(ids[own], learner.tables.read_rows(name, places))
    return rows


def _tombstones(learner: Learner) -> dict[str, Array]:
    """Ids evicted since the last version, without those that have come back."""
    tables, ids = learner.changes.since.evicted_keys()
    gone = learner.vocabulary.absent(tables, ids)
    tables, ids = tables[gone], ids[gone]
    return {learner.tables.names[number]: ids[tables == number] for number in np.unique(tables).tolist()}


def _progress(learner: Learner, cursor: Cursor, topic: str) -> Progress:
    counters, settled = learner.counters, learner.changes.since.settled()
    quantiles = np.percentile(settled, np.arange(101), method="nearest").tolist() if len(settled) else []
    return Progress(
        step=counters.step,
        examples=counters.examples,
        offsets=cursor.offsets(topic),
        newest_event_time_ms=counters.newest_event_time_ms,
        newest_ingest_ms=counters.newest_ingest_ms,
        ingest_quantiles_ms=quantiles,
    )


def _metrics(learner: Learner) -> dict[str, float]:
    """The window's scores by name, the lifetime's as `lifetime_NAME`, and what calibration changed lately."""
    lifetime = learner.progressive.lifetime.scores().as_dict()
    calibrated = learner.calibration.scores() if learner.calibration is not None else {}
    window = learner.progressive.window_scores().as_dict()
    return {**window, **{f"lifetime_{name}": score for name, score in lifetime.items()}, **calibrated}

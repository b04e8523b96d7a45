"""Deltas from a recommender's learner: what a publisher is offered (streams/contract/recommender.py)."""

from __future__ import annotations

import numpy as np

from llm_rec.live.learner import LiveLearner
from llm_rec.live.tables import NEVER
from streams.contract.columns import Array
from streams.contract.manifest import Rows
from streams.contract.recommender import HISTORIES, ITEMS, NEW_ITEMS, TEMPERATURE, USERS, history_rows, pack_items
from streams.turns.cursor import Cursor
from streams.versions.delta import Delta, Progress, Publisher, WindowScores

_AD_KEYS = ("item",)


class Offering:
    """Offers a learner's changes to a publisher whenever it wants some.

    What changed behind the newest version's step belongs to the next one: nothing else need be remembered, and what
    was refused or lost comes again.
    """

    def __init__(self, learner: LiveLearner, publisher: Publisher, topic: str, *, catalogue_items: int) -> None:
        """`catalogue_items`: how many items the generation's catalogue holds; the others travel as new ones."""
        self._learner = learner
        self._publisher = publisher
        self._topic = topic
        self._catalogue_items = catalogue_items
        self.num_taken = 0
        self.num_refused = 0

    def offer_if_due(self, cursor: Cursor) -> bool:
        """Offers a delta where the publisher wants one and the learner is ahead of what is published; whether taken.

        The first version of a generation is offered at once, before anything is learnt: it is what was fitted.
        """
        if not self._publisher.due() or self._learner.step <= self._publisher.last_step():
            return False
        newest, full = self._publisher.last_step(), self._publisher.wants_full()
        taken = self._publisher.offer(self.delta(cursor, newest, full=full))
        if taken:
            self._learner.accept()
        self.num_taken += taken
        self.num_refused += not taken
        return taken

    def delta(self, cursor: Cursor, newest: int, *, full: bool) -> Delta:
        """All that changed behind step `newest`, or with `full` everything, in arrays of its own."""
        learner = self._learner
        gone, forgotten = learner.users.gone_since(newest)
        full = full or forgotten
        news = pack_items(learner.items.items[self._catalogue_items :])
        return Delta(
            dense={
                NEW_ITEMS: np.frombuffer(news, dtype=np.uint8).copy(),
                TEMPERATURE: np.array([learner.temperature.value], dtype=np.float32),
            },
            rows=self._rows(NEVER - 1 if full else newest),
            tombstones={} if full or not len(gone) else {USERS: gone, HISTORIES: gone},
            ads=np.zeros((0, len(_AD_KEYS)), dtype=np.int64),
            ad_keys=_AD_KEYS,
            progress=self._progress(cursor),
            metrics=_metrics(learner),
            window=_window(learner),
            full=full,
            recipe=learner.recipe.name,
            tables=dict.fromkeys((USERS, HISTORIES, ITEMS), learner.dim),
        )

    def _rows(self, newest: int) -> dict[str, Rows]:
        tables, users = self._learner.tables, self._learner.users
        items: Array = np.flatnonzero(tables.item_changed[: tables.num_items] > newest)
        places: Array = np.flatnonzero(tables.user_changed[: len(users.histories)] > newest)
        keys = users.keys[places]
        rows = {
            ITEMS: Rows(items.astype(np.int64), tables.item_rows(items)),
            HISTORIES: Rows(keys, history_rows([users.histories[place] for place in places], self._learner.dim)),
        }
        if self._learner.names_users:
            rows[USERS] = Rows(keys, tables.user_rows(places, users.likes[places]))
        return rows

    def _progress(self, cursor: Cursor) -> Progress:
        learner, settled = self._learner, self._learner.settled_since_accepted()
        return Progress(
            step=learner.step,
            examples=learner.num_examples,
            offsets=cursor.offsets(self._topic),
            newest_event_time_ms=learner.newest_event_time_ms,
            newest_ingest_ms=learner.newest_ingest_ms,
            ingest_quantiles_ms=np.percentile(settled, np.arange(101), method="nearest").tolist()
            if len(settled)
            else [],
        )


def _metrics(learner: LiveLearner) -> dict[str, float]:
    """The newest window's figures by name, the lifetime's as `lifetime_NAME`, and the temperature."""
    lifetime = {f"lifetime_{name}": value for name, value in learner.progressive.lifetime().items()}
    return {**learner.progressive.recent(), **lifetime, "temperature": learner.temperature.value}


def _window(learner: LiveLearner) -> WindowScores:
    newest = learner.progressive.newest()
    return WindowScores(
        label=np.ones(len(newest.loss), dtype=np.float32),
        probability=np.exp(-newest.loss).astype(np.float32),
        served_probability=np.exp(-newest.accepted_loss).astype(np.float32),
        served_version=np.zeros(len(newest.loss), dtype=np.int64),
    )

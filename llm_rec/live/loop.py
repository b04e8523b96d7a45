"""The continual learner: reads examples turn by turn, looks, learns, checkpoints and publishes when due.

    examples ─> source ┆ thread ┆ ─> learner ─> checkpoint?  publish?

A checkpoint holds the learner and where the log stands behind its last turn, in one commit. After a kill the newest
one is resumed, and the same turns follow: the model is the one of a run that was never interrupted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import torch

from llm_rec.live.learner import LiveLearner
from llm_rec.live.offering import Offering
from llm_rec.live.state import learner_tensors, learner_values, load_learner
from streams.checkpoints.keeper import CheckpointKeeper, Present
from streams.checkpoints.store import CheckpointConfig, CheckpointStore, Loaded
from streams.contract.errors import InputError
from streams.log.event_log import EventLog, Record
from streams.turns.ahead import Ahead
from streams.turns.cursor import Cursor, cursor_from_state, cursor_to_state
from streams.turns.pace import Pace
from streams.turns.source import ExampleSource, SourceConfig, Turn

_LOGGER = logging.getLogger(__name__)

GROUP = "recommender-learner"
"""The consumer group under which the log keeps how far checkpoints have come; for monitoring and retention."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopConfig:
    """How a learner runs; what it learns is LearnConfig's."""

    source: SourceConfig = field(default_factory=SourceConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    progress_seconds: float = 1.0
    threads: int = 1
    """Threads of one tensor operation; sums may differ in their last bits between different numbers of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnProgress:
    """Where the learner stands. Figures by name: NDCG@100, Recall@20, log losses of the model and of popularity."""

    step: int
    examples: int
    likes: int
    likes_per_second: float
    newest_ingest_ms: int
    window: dict[str, float]
    lifetime: dict[str, float]
    users: int
    items: int
    new_users: int
    new_items: int
    items_left_out: int
    undecodable: int
    versions_taken: int
    versions_refused: int
    offsets: dict[str, list[int]]
    checkpoint: str
    checkpoint_seconds: float


class LearnLoop:
    """Runs a learner over the log until it is stopped, or the log's final marks are reached."""

    def __init__(
        self,
        log: EventLog,
        learner: LiveLearner,
        checkpoints: CheckpointStore,
        config: LoopConfig,
        *,
        model: str,
        stop: threading.Event | None = None,
    ) -> None:
        """`model` names what the learner began with; `stop` ends the run after the present turn, with a checkpoint."""
        self._log, self._learner, self._checkpoints = log, learner, checkpoints
        self._config, self._model = config, model
        self._keeper = CheckpointKeeper(
            log, checkpoints, config.checkpoint, topic=config.source.topic, group=GROUP, present=self._present
        )  # fmt: skip
        self._offering: Offering | None = None
        self._on_progress: Callable[[LearnProgress], None] = _say_nothing
        self._stop = stop or threading.Event()
        self._cursor: Cursor | None = None
        self._saved_step = 0
        self._pace = Pace(config.progress_seconds)

    def resume(self) -> Loaded:
        """Takes the newest valid checkpoint, if there is one; says which were refused.

        Raises InputError where it began with another model, FormatError where it does not fit.
        """
        loaded = self._checkpoints.load_newest()
        if loaded.content is not None:
            state = loaded.content.state
            if state.get("model") != self._model:
                raise InputError("holds a run that began with another model", field="checkpoints",
                                 value=str(self._checkpoints.folder),
                                 remedy="give the model that it began with, or another folder")  # fmt: skip
            load_learner(self._learner, loaded.content.tensors, state)
            self._cursor = cursor_from_state(state["cursor"])
            self._saved_step = self._learner.step
        return loaded

    def publish_through(self, offering: Offering) -> None:
        """Offers what is learnt from here on."""
        self._offering = offering

    def run(self, on_progress: Callable[[LearnProgress], None] = lambda progress: None) -> LearnProgress:
        """Learns until `stop` is set or the stream has ended; a last checkpoint is made either way."""
        torch.set_num_threads(self._config.threads)
        self._on_progress = on_progress
        source = ExampleSource(
            self._log, self._config.source, cursor=self._cursor, on_undecodable=_told_undecodable, stop=self._stop
        )
        self._cursor = source.cursor
        self._keeper.begin(source.cursor, saved_step=self._saved_step)
        self._pace.begin(self._learner.progressive.num_likes)
        ahead = Ahead(iter(source.next_turn, None), self._stop)
        with closing(self._keeper):
            try:
                for turn in ahead:
                    if turn is not None:
                        self._turn(turn)
                    self._keep_up()
            finally:
                ahead.close()
            self._keeper.finish(self._cursor)
        self.offer()
        progress = self.progress()
        self._on_progress(progress)
        return progress

    def offer(self) -> bool:
        """Offers what has changed to the publisher, where there is one and it wants some; whether it was taken."""
        if self._offering is None or self._cursor is None:
            return False
        return self._offering.offer_if_due(self._cursor)

    def progress(self) -> LearnProgress:
        """Where the learner stands now."""
        learner, offering = self._learner, self._offering
        assert self._cursor is not None, "progress is known once the run has begun"
        likes = learner.progressive.num_likes
        return LearnProgress(
            step=learner.step, examples=learner.num_examples, likes=likes,
            likes_per_second=self._pace.per_second(likes),
            newest_ingest_ms=learner.newest_ingest_ms,
            window=learner.progressive.recent(), lifetime=learner.progressive.lifetime(),
            users=len(learner.users), items=len(learner.items),
            new_users=learner.users.num_new, new_items=learner.num_new_items,
            items_left_out=learner.items.num_left_out, undecodable=self._cursor.num_undecodable,
            versions_taken=offering.num_taken if offering else 0,
            versions_refused=offering.num_refused if offering else 0,
            offsets=self._cursor.offsets(self._config.source.topic),
            checkpoint=self._keeper.name, checkpoint_seconds=self._keeper.seconds,
        )  # fmt: skip

    def _turn(self, turn: Turn) -> None:
        if turn.examples is not None:
            self._learner.learn(turn.examples)
        self._cursor = turn.cursor

    def _keep_up(self) -> None:
        """Publishes, saves and tells what is due; called while nothing comes, too, or the last turn would wait."""
        assert self._cursor is not None, "the run has begun"
        self.offer()
        self._keeper.keep_up(self._learner.step, self._cursor)
        if self._pace.tells(self._learner.step):
            self._on_progress(self.progress())

    def _present(self) -> Present:
        assert self._cursor is not None, "nothing is saved before the run has begun"
        state: dict[str, Any] = {
            **learner_values(self._learner), "cursor": cursor_to_state(self._cursor), "model": self._model
        }  # fmt: skip
        return Present(self._learner.step, learner_tensors(self._learner), state, self._cursor)


def _told_undecodable(record: Record, reason: str) -> None:
    """The trainer of the ads' model writes dead letters of the same topic; here they are told and counted."""
    _LOGGER.warning("%s at offset %d is passed over: %s", record.partition, record.offset, reason)


def _say_nothing(progress: LearnProgress) -> None:
    """Nobody listens yet."""

"""The continual trainer: reads examples turn by turn, learns them, checkpoints and publishes when due.

    examples ─> source ─> prepare ┆ thread ┆ ─> predict, score, learn ─> checkpoint?  publish?

A checkpoint holds the model and where the log stands behind its last batch, in one commit; it is copied
between two batches and written while the next ones are learnt. After a kill the newest one is resumed,
and the same batches follow: the model is the one of a run that was never interrupted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from streams.checkpoints.keeper import CheckpointKeeper, Present
from streams.checkpoints.store import CheckpointConfig, CheckpointStore, Loaded, Refused
from streams.log.event_log import EventLog
from streams.turns.ahead import Ahead
from streams.turns.cursor import Cursor, cursor_from_state, cursor_to_state
from streams.turns.pace import Pace
from streams.turns.source import ExampleSource, SourceConfig
from streams.versions.delta import Publisher
from trainer.aside import DeadLetterSender
from trainer.counting import count
from trainer.distributed import place_from
from trainer.learner import Learner
from trainer.learner_state import learner_tensors, learner_values, load_learner
from trainer.offering import Offering
from trainer.prefetch import prepared_turns
from trainer.prepare import Prepared, Preparer
from trainer.tally import Scores

GROUP = "trainer"
"""The consumer group under which the log keeps how far checkpoints have come; for monitoring and retention."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainerConfig:
    """How a trainer runs; what it learns is the recipe's. Kind and batch size of `source` are the recipe's too."""

    source: SourceConfig = field(default_factory=SourceConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    progress_seconds: float = 1.0
    prefetch: int = 4
    threads: int = 1
    """Threads of one tensor operation; sums may differ in their last bits between different numbers of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainProgress:
    """Where the trainer stands. Times: the data's clock for `newest_event_time_ms`, else the wall clock."""

    step: int
    examples: int
    examples_per_second: float
    newest_event_time_ms: int
    newest_ingest_ms: int
    window: Scores
    lifetime: Scores
    num_rows: int
    num_corrections: int
    num_other_kind: int
    calibrated: dict[str, float]
    """How calibrated recent predictions were before and after the map; empty without one."""
    click_delay: dict[str, Any]
    """How long clicks take, see trainer/delayed/click_delays.py; empty before there is one."""
    dead_letters: dict[str, int]
    """Reason -> how many records and requests it made unusable, since this process started."""
    versions_taken: int
    versions_refused: int
    offsets: dict[str, list[int]]
    checkpoint: str
    checkpoint_seconds: float
    refused_checkpoints: tuple[Refused, ...] = ()

    @property
    def num_dead_letters(self) -> int:
        """Dead letters for whatever reason."""
        return sum(self.dead_letters.values())


class Trainer:
    """Runs a learner over the log until it is stopped, or the log's final marks are reached."""

    def __init__(
        self,
        log: EventLog,
        learner: Learner,
        checkpoints: CheckpointStore,
        config: TrainerConfig | None = None,
        *,
        publisher: Publisher | None = None,
        on_progress: Callable[[TrainProgress], None] = lambda progress: None,
        stop: threading.Event | None = None,
    ) -> None:
        """`stop` ends the run after the present batch, with a checkpoint. See `resume` to go on from one.

        Raises InputError where torchrun started more trainers than this one.
        """
        place_from()
        config = config or TrainerConfig()
        recipe = learner.recipe
        self._log = log
        self._learner = learner
        self._checkpoints = checkpoints
        self._config = replace(config, source=replace(config.source, kind=recipe.kind, batch_size=recipe.batch_size))
        self._topic = config.source.topic
        self._offering = Offering(learner, publisher, self._topic) if publisher else None
        self._on_progress = on_progress
        self._stop = stop or threading.Event()
        self._aside = DeadLetterSender(log, self._topic, self._stop)
        self._cursor: Cursor | None = None
        self._saved_step = 0
        self._refused: list[Refused] = []
        self._pace = Pace(config.progress_seconds)
        self._keeper = CheckpointKeeper(
            log, checkpoints, config.checkpoint, topic=self._topic, group=GROUP, present=self._present
        )  # fmt: skip

    def resume(self) -> Loaded:
        """Takes the newest valid checkpoint, if there is one; says which were refused.

        Raises InputError where it does not fit schema or recipe, or has another format.
        """
        loaded = self._checkpoints.load_newest()
        self._refused = loaded.refused
        if loaded.content is not None:
            load_learner(self._learner, loaded.content.tensors, loaded.content.state)
            self._cursor = cursor_from_state(loaded.content.state["cursor"])
            self._saved_step = self._learner.counters.step
        return loaded

    def run(self) -> TrainProgress:
        """Trains until `stop` is set or the stream has ended; a last checkpoint is made either way."""
        torch.set_num_threads(self._config.threads)
        if self._cursor is None:
            torch.manual_seed(self._learner.recipe.tables.seed)
        source = ExampleSource(
            self._log, self._config.source, cursor=self._cursor,
            on_undecodable=self._aside.undecodable, stop=self._stop,
        )  # fmt: skip
        self._cursor = source.cursor
        self._keeper.begin(source.cursor, saved_step=self._saved_step)
        prepared_ones = prepared_turns(source, Preparer(self._learner.schema), self._aside.bad_request)
        ahead = Ahead(prepared_ones, self._stop, depth=self._config.prefetch)
        self._pace.begin(self._learner.counters.examples)
        with closing(self._keeper):
            try:
                for prepared in ahead:
                    if prepared is not None:
                        self._turn(prepared)
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

    def progress(self) -> TrainProgress:
        """Where the trainer stands now."""
        learner, counters = self._learner, self._learner.counters
        assert self._cursor is not None, "progress is known once the run has begun"
        return TrainProgress(
            step=counters.step,
            examples=counters.examples,
            examples_per_second=self._pace.per_second(counters.examples),
            newest_event_time_ms=counters.newest_event_time_ms,
            newest_ingest_ms=counters.newest_ingest_ms,
            window=learner.progressive.window_scores(),
            lifetime=learner.progressive.lifetime.scores(),
            num_rows=len(learner.vocabulary),
            num_corrections=learner.progressive.num_corrections,
            num_other_kind=self._cursor.num_other_kind,
            calibrated=learner.calibration.scores() if learner.calibration is not None else {},
            click_delay=learner.click_delays.as_dict(),
            dead_letters=dict(self._aside.counts),
            versions_taken=self._offering.num_taken if self._offering else 0,
            versions_refused=self._offering.num_refused if self._offering else 0,
            offsets=self._cursor.offsets(self._topic),
            checkpoint=self._keeper.name,
            checkpoint_seconds=self._keeper.seconds,
            refused_checkpoints=tuple(self._refused),
        )

    def _turn(self, prepared: Prepared) -> None:
        if prepared.learnable is not None:
            self._learner.learn(count(self._learner.online, prepared.learnable))
        self._cursor = prepared.cursor

    def _keep_up(self) -> None:
        """Publishes, saves and tells what is due; called while nothing comes, too, or the last batch would wait."""
        assert self._cursor is not None, "the run has begun"
        self.offer()
        self._keeper.keep_up(self._learner.counters.step, self._cursor)
        if self._pace.tells(self._learner.counters.step):
            self._on_progress(self.progress())

    def _present(self) -> Present:
        assert self._cursor is not None, "nothing is saved before the run has begun"
        learner = self._learner
        state = {**learner_values(learner), "cursor": cursor_to_state(self._cursor), "topic": self._topic}
        return Present(learner.counters.step, learner_tensors(learner), state, self._cursor)

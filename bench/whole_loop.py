"""The whole loop on the clock: read from the log, decode, transform, predict, score, learn."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from streams.checkpoints.store import CheckpointConfig, CheckpointStore
from streams.contract.examples import ExampleBatch, Mark, encode_examples, encode_mark
from streams.contract.schema import Schema
from streams.log.event_log import Append, EventLog, TopicPartition
from streams.turns.source import SourceConfig
from trainer.learner import Learner, Scored
from trainer.loop import Trainer, TrainerConfig
from trainer.prepare import Learnable
from trainer.recipes import RecipeConfig

NUM_PARTITIONS = 2
_BATCHES_A_WRITE = 16


@dataclass(slots=True)
class Lap:
    """When the first batch was learnt and when the last, and the examples between.

    Times are (time.perf_counter(), time.process_time()): wall clock, and the processor time of all threads.
    """

    began: tuple[float, float] = (0.0, 0.0)
    ended: tuple[float, float] = (0.0, 0.0)
    examples: int = field(default=-1)

    def passed(self, examples: int) -> None:
        """A batch has been learnt; the first one only starts the clock."""
        self.ended = (time.perf_counter(), time.process_time())
        if self.examples < 0:
            self.began, self.examples = self.ended, 0
        else:
            self.examples += examples

    @property
    def examples_per_second(self) -> float:
        """The loop's rate from the first batch's end to the last one's."""
        return self.examples / (self.ended[0] - self.began[0])

    @property
    def examples_per_cpu_second(self) -> float:
        """The same over the processor time, the reading thread's included."""
        return self.examples / (self.ended[1] - self.began[1])


class TimedLearner(Learner):
    """A learner that notes when it learns; what it learns is the same."""

    def __init__(self, schema: Schema, recipe: RecipeConfig) -> None:
        super().__init__(schema, recipe)
        self.lap = Lap()

    def learn(self, learnable: Learnable) -> Scored:
        scored = super().learn(learnable)
        self.lap.passed(len(learnable.examples))
        return scored


def fill_topic(log: EventLog, topic: str, batches: Iterable[ExampleBatch]) -> None:
    """Makes the topic with the batches in turn over its partitions, and a final mark in each."""
    log.create_topic(topic, NUM_PARTITIONS)
    waiting: list[Append] = []
    for number, batch in enumerate(batches):
        waiting.append(Append(TopicPartition(topic, number % NUM_PARTITIONS), encode_examples(batch)))
        if len(waiting) == _BATCHES_A_WRITE:
            log.append(waiting)
            waiting = []
    end = encode_mark(Mark(final=True))
    log.append([*waiting, *(Append(TopicPartition(topic, n), end) for n in range(NUM_PARTITIONS))])


def run_loop(log: EventLog, topic: str, learner: TimedLearner, folder: Path, *, threads: int = 1) -> float:
    """Trains on the whole topic; examples a second from the first batch on, without the checkpoint at the end."""
    learner.lap = Lap()
    checkpoints = CheckpointStore(folder)
    try:
        config = TrainerConfig(source=SourceConfig(topic=topic), checkpoint=CheckpointConfig(every_seconds=0),
                               threads=threads)  # fmt: skip
        Trainer(log, learner, checkpoints, config).run()
    finally:
        checkpoints.close()
    return learner.lap.examples_per_second

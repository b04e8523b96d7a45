"""What an evaluation drives: it takes labelled examples in order, predicts and scores each before it learns it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from streams.contract.examples import ExampleBatch
from streams.contract.schema import Schema
from trainer.counting import Counting, count, counting_of, learnt_schema
from trainer.future.live import WindowLearner
from trainer.learner import Learner, Scored
from trainer.peers.subject import PeerSubject
from trainer.prepare import Preparer
from trainer.progressive import Progressive
from trainer.recipes import RecipeConfig
from trainer.strategies.build import rounds_of
from trainer.strategies.taught import step_learner


class Subject(Protocol):
    """A recipe at work."""

    @property
    def progressive(self) -> Progressive:
        """Scores of all examples taken."""

    def take(self, examples: ExampleBatch) -> Scored:
        """Predicts and scores E examples, then learns, now or when their round has ended."""

    def learner_of_steps(self) -> Learner:
        """The one model that learns step by step. Raises InputError where there is none."""


class StepByStep:
    """A learner that learns every batch when it comes."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self._prepare = Preparer(learner.schema)

    @property
    def progressive(self) -> Progressive:
        return self.learner.progressive

    def take(self, examples: ExampleBatch) -> Scored:
        return self.learner.learn(count(self.learner.online, self._prepare(examples)))

    def learner_of_steps(self) -> Learner:
        return self.learner


class Counted:
    """A recipe whose examples come with their counters, as they stood when they were first taken."""

    def __init__(self, inner: Subject, schema: Schema, counting: Counting) -> None:
        self._inner = inner
        self._prepare = Preparer(schema)
        self._counting = counting

    @property
    def progressive(self) -> Progressive:
        return self._inner.progressive

    def take(self, examples: ExampleBatch) -> Scored:
        return self._inner.take(count(self._counting, self._prepare(examples)).examples)

    def learner_of_steps(self) -> Learner:
        return self._inner.learner_of_steps()


def with_counters(inner: Subject, schema: Schema, recipe: RecipeConfig) -> Subject:
    """The subject, given the counters that the recipe learns from, where the schema has some."""
    schema = learnt_schema(schema, recipe)
    counting = counting_of(schema, recipe)
    return inner if counting is None else Counted(inner, schema, counting)


@contextmanager
def open_subject(schema: Schema, recipe: RecipeConfig, *, device: str = "cpu") -> Iterator[Subject]:
    """The recipe's learner, untrained; rounds on disk last as long as the body. Raises InputError."""
    schema = learnt_schema(schema, recipe)
    if recipe.peer is not None:
        with closing(PeerSubject(schema, recipe, device=device)) as peer:
            yield peer
        return
    if recipe.update is None:
        yield StepByStep(step_learner(schema, recipe, device=device))
        return
    with tempfile.TemporaryDirectory(prefix="freshet-rounds-") as folder:
        if recipe.update.mode == "paper":
            yield with_counters(rounds_of(schema, recipe, Path(folder), device=device), schema, recipe)
        else:
            yield StepByStep(WindowLearner(schema, recipe, Path(folder), device=device))

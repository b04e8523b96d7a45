"""Whole rounds: a model predicts all of round t, and only then is anything learnt of it.

    take ──> predict, score ──> the round's records on disk ── the round ends ──> learn

What is learnt when a round has ended is a strategy's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.examples import ExampleBatch
from streams.contract.schema import Schema
from trainer.future.round_store import RoundStore
from trainer.future.window import mixed, side_by_side
from trainer.learner import Learner, Scored
from trainer.prepare import Learnable, Preparer
from trainer.progressive import Progressive
from trainer.recipes import RecipeConfig, remedy_for_steps


class Rounds(ABC):
    """Predicts and scores every example with the model deployed; learns between rounds."""

    def __init__(self, schema: Schema, recipe: RecipeConfig, folder: Path, *, device: str = "cpu") -> None:
        """`folder` holds the rounds that are still needed. Raises InputError, UnavailableError."""
        assert recipe.update is not None, "a recipe with rounds"
        self._schema, self._recipe, self._config, self._device = schema, recipe, recipe.update, device
        self.progressive = Progressive(recipe.progressive)
        self._store = RoundStore(folder)
        self._prepare = Preparer(schema)
        self._t = 0
        self._period: int | None = None

    @abstractmethod
    def _predict(self, learnable: Learnable) -> Array:
        """Logits (E,) of the model that serves the present round."""

    @abstractmethod
    def _end_round(self) -> None:
        """Round `_t` has been scored and stands in the store: learns, drops what is not needed, counts on."""

    def take(self, examples: ExampleBatch) -> Scored:
        """Predicts and scores E examples; rounds that end on the way are learnt. Raises as a learner does."""
        parts = []
        for period, part in self._by_period(examples):
            if self._period is not None and period > self._period:
                self._end_round()
            self._period = period
            parts.append(self._score(part))
        return Scored(np.concatenate([part.logit for part in parts]), np.concatenate([part.loss for part in parts]))

    def learner_of_steps(self) -> Learner:
        """Raises InputError: the models here learn between rounds."""
        raise InputError("learns whole rounds, with no delay of labels", field="recipe", value=self._recipe.name,
                         remedy=f"{remedy_for_steps(self._recipe)}, or leave delays out")  # fmt: skip

    def _by_period(self, examples: ExampleBatch) -> Iterator[tuple[int, ExampleBatch]]:
        """Runs of examples by period of the data's clock; one that comes late belongs to the present period."""
        periods = examples.event_time_ms[examples.request_index] // self._config.round_ms
        periods = np.maximum.accumulate(np.concatenate([[self._period or periods[0]], periods]))[1:]
        begins = np.flatnonzero(np.diff(periods, prepend=periods[0] - 1))
        for begin, end in zip(begins.tolist(), [*begins[1:].tolist(), len(examples)], strict=True):
            yield int(periods[begin]), examples.slice(begin, end)

    def _score(self, examples: ExampleBatch) -> Scored:
        learnable = self._prepare(examples)
        logit = self._predict(learnable)
        loss = self.progressive.add(examples, logit)
        self._store.append(self._t, examples)
        return Scored(logit, loss)

    def _round(self, t: int, batch_size: int) -> Iterator[tuple[Learnable, Array]]:
        """Round t in batches as equal as can be, each example once, with even shares (E,) that add up to 1."""
        for chunks in side_by_side(self._store, [t], batch_size):
            examples, share = mixed(chunks, np.ones(1))
            yield self._prepare(examples), share

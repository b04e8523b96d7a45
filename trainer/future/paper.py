"""Whole rounds: theta_t predicts all of round t, then theta_{t+1} is learnt from rounds t .. t+1-b.

    round           t-2       t-1        t        t+1
    scored by     theta_t-2 theta_t-1 theta_t  theta_t+1
                                                  └─ begins as theta_{t+1-b}, learns rounds t .. t+1-b once

So b models take turns (lineages), each with its own optimizer, and each sees every example once. When
round t has ended, gradients are measured at models that were visited while theta_t was learnt, round t
as the target; the mixer learns from these, and only then is theta_{t+1} learnt. The first b rounds have
no lineages yet: there theta_{t+1} is theta_t after one pass over round t.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streams.contract.columns import Array
from streams.contract.schema import Schema
from trainer.future.build import build_mixer, num_dense
from trainer.future.gradients import gram_at
from trainer.future.gram import Floats, Gram, relative
from trainer.future.mixers import Mixer, uniform
from trainer.future.rounds import Rounds
from trainer.future.summary import Summary, empty_summary
from trainer.future.theta import Theta, remember
from trainer.future.window import halves_of, mixed, side_by_side
from trainer.learner import Learner
from trainer.learner_state import learner_tensors, learner_values, load_learner
from trainer.prepare import Learnable
from trainer.recipes import RecipeConfig


@dataclass(frozen=True, slots=True)
class Mix:
    """The weights (b,), newest first, with which the model of round t was learnt, and how well they foretold.

    `forecast_error` is |m - g_t|^2 / |g_t|^2 over the measured gradients: 1 is forecasting zero; nan, not measured.
    """

    t: int
    start_ms: int
    weights: Floats
    forecast_error: float


class PaperRounds(Rounds):
    """Predicts and scores every example with the deployed model; learns between rounds."""

    def __init__(
        self, schema: Schema, recipe: RecipeConfig, folder: Path, *, device: str = "cpu", mixer: Mixer | None = None
    ) -> None:
        """`folder` holds the window of rounds; `mixer` stands for the recipe's. Raises InputError, UnavailableError."""
        super().__init__(schema, recipe, folder, device=device)
        self.mixes: list[Mix] = []
        self.mixer = mixer or build_mixer(self._config, schema, recipe.tables.seed)
        self._lineages: dict[int, Learner] = {0: Learner(schema, recipe, device=device)}
        self._visited: list[Theta] = []
        self._summary = self._empty()
        self._weights = uniform(self._config.num_rounds).weights(0)

    def deployed(self) -> Learner:
        """The model that serves the present round."""
        return self._lineages[self._t % self._config.num_rounds]

    def _predict(self, learnable: Learnable) -> Array:
        logit = self.deployed().predict(learnable)
        self._summary.add(learnable)
        return logit

    def _end_round(self) -> None:
        """Round t has been scored: the mixer learns from it, then the next model does."""
        t, b = self._t, self._config.num_rounds
        self.mixer.observe(t, self._summary)
        self._note(t)
        if t + 1 <= b:
            learner, rounds, weights = self._copy(self.deployed()), [t], np.ones(1)
        else:
            learner, rounds, weights = self._lineages[(t + 1) % b], [t - i for i in range(b)], self.mixer.weights(t + 1)
            self._weights = weights
        self._learn_rounds(learner, rounds, weights)
        self._lineages[(t + 1) % b] = learner
        self._store.drop_before(t + 1 - b)
        self._t, self._summary = t + 1, self._empty()

    def _note(self, t: int) -> None:
        """Measures gradients against round t where its model was mixed, lets the mixer learn, and keeps account."""
        if t <= self._config.num_rounds:
            return
        error = float("nan")
        if self._config.learns_weights:
            grams = [self._measure(t, number, theta) for number, theta in enumerate(self._visited)]
            error = _forecast_error(grams, self._weights)
            self.mixer.learn(t, relative(grams))
        assert self._period is not None
        self.mixes.append(Mix(t, self._period * self._config.round_ms, self._weights, error))

    def _measure(self, t: int, number: int, theta: Theta) -> Gram:
        random = np.random.default_rng([self._recipe.tables.seed, t, number])
        rounds = [*(t - 1 - i for i in range(self._config.num_rounds)), t]
        return gram_at(self.deployed(), theta, [halves_of(self._store, r, random, self._prepare) for r in rounds])

    def _learn_rounds(self, learner: Learner, rounds: list[int], weights: Floats) -> None:
        """One pass, each example once; some of the models on the way are remembered."""
        self._visited = []
        steps = -(-max(sum(self._store.sizes(r)) for r in rounds) // self._recipe.batch_size)
        marks = {steps * (n + 1) // self._config.snapshots for n in range(self._config.snapshots)}
        for step, chunks in enumerate(side_by_side(self._store, rounds, self._recipe.batch_size), start=1):
            examples, share = mixed(chunks, weights)
            learner.learn_shares(self._prepare(examples), share)
            if self._config.learns_weights and step in marks and len(rounds) > 1:
                self._visited.append(remember(learner))

    def _copy(self, learner: Learner) -> Learner:
        """Another lineage that goes on from the same place."""
        copy = Learner(self._schema, self._recipe, device=self._device)
        load_learner(copy, learner_tensors(learner), learner_values(learner))
        return copy

    def _empty(self) -> Summary:
        return empty_summary(self._config.generator.buckets, num_dense(self._schema))


def _forecast_error(grams: list[Gram], weights: Floats) -> float:
    target = sum(gram.target for gram in grams)
    return sum(gram.loss(weights) for gram in grams) / target if target > 0 else float("nan")

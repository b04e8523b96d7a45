"""One continual model whose every step mixes the newest examples with those of the last rounds.

    step     newest batch (round t, not yet learnt)     a batch of round t-1   ...   of round t-b+1
    weight        a_0                                      a_1                         a_{b-1}

The newest batch is predicted and scored by the forward pass that also learns it. Rounds are periods of
event time; records of past rounds are replayed in order, over and over, while the present one lasts.

Now and then gradients are measured at the present theta: rounds t-1 .. t-b against the newest batch
before it is learnt, which is the future as far as theta knows. From these the mixer learns.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from streams.contract.columns import Array
from streams.contract.examples import ExampleBatch, concat_batches
from streams.contract.schema import Schema
from trainer.future.build import build_mixer, num_dense
from trainer.future.gradients import Halves, gram_at
from trainer.future.gram import Floats, relative
from trainer.future.replaying import ReplayingLearner
from trainer.future.round_store import RoundStore
from trainer.future.summary import empty_summary, summary_from
from trainer.future.window import halves_of
from trainer.learner import Learner, Scored
from trainer.prepare import Learnable, Preparer
from trainer.recipes import RecipeConfig, check_trainable
from trainer.strategies.taught import step_learner

_NO_PERIOD = -(2**62)


class WindowLearner(ReplayingLearner):
    """A learner with a window of rounds on disk and a mixer."""

    def __init__(self, schema: Schema, recipe: RecipeConfig, folder: Path, *, device: str = "cpu") -> None:
        """`folder` holds the rounds; it is used from the first batch on. Raises InputError."""
        super().__init__(schema, recipe, device=device)
        assert recipe.update is not None, "a recipe with rounds"
        self._config = recipe.update
        self.mixer = build_mixer(recipe.update, schema, recipe.tables.seed)
        self._store = RoundStore(folder)
        self._prepare = Preparer(schema)
        self._summary = empty_summary(recipe.update.generator.buckets, num_dense(schema))
        self._period, self._t, self._step_of_round = _NO_PERIOD, 0, 0
        self._weights = np.ones(1)

    @property
    def weights(self) -> Floats:
        """What the newest rounds count at present, newest first; fewer than b at the start."""
        return self._weights

    def learn(self, learnable: Learnable) -> Scored:
        examples, features = learnable.examples, learnable.features
        newest_ms = int(examples.event_time_ms.max())
        self._enter_round(newest_ms // self._config.round_ms)
        self._mix(learnable)
        replayed = self._replayed()
        whole, logits = self._together(learnable, replayed)
        predicted = logits.detach().float().cpu().numpy()[: len(examples)]
        self.check_finite(predicted)
        losses = self.progressive.add(examples, predicted)
        together = concat_batches([examples, *(each.examples for each in replayed)])
        self._update_by_shares(logits, together, self._shares([examples, *(each.examples for each in replayed)]))
        self._account(examples, features, whole, newest_ms)
        self._keep(examples)
        return Scored(predicted, losses)

    def window_state(self) -> dict[str, Array]:
        places = [self._period, self._t, self._step_of_round]
        parts = {"mixer": self.mixer.state(), "rounds": self._store.state(), "summary": self._summary.as_arrays()}
        state = {f"{part}:{name}": array for part, arrays in parts.items() for name, array in arrays.items()}
        return {**state, "places": np.array(places, dtype=np.int64), "weights": self._weights.copy()}

    def load_window_state(self, state: Mapping[str, Array]) -> None:
        parts: dict[str, dict[str, Array]] = {"mixer": {}, "rounds": {}, "summary": {}}
        for path, array in state.items():
            part, colon, name = path.partition(":")
            if colon:
                parts[part][name] = array
        self.mixer.load_state(parts["mixer"])
        self._store.load_state(parts["rounds"])
        self._summary = summary_from(parts["summary"])
        self._period, self._t, self._step_of_round = state["places"].tolist()
        self._weights = np.array(state["weights"])

    def _enter_round(self, period: int) -> None:
        """Begins the next round where the newest event lies in a later period."""
        if period <= self._period:
            return
        if self._period != _NO_PERIOD:
            self.mixer.observe(self._t, self._summary)
            self._t += 1
            self._store.drop_before(self._t - self._config.num_rounds)
        self._summary = empty_summary(self._config.generator.buckets, num_dense(self.schema))
        self._period, self._step_of_round = period, 0

    def _mix(self, learnable: Learnable) -> None:
        """Measures and decides anew what each round counts, where it is time to."""
        self._summary.add(learnable)
        if self._step_of_round % self._config.gram_every == 0:
            if self._config.learns_weights and self._full_window():
                self._measure(learnable)
            self.mixer.observe(self._t, self._summary)
            present = 1 + len(self._past())
            full = present == self._config.num_rounds
            self._weights = self.mixer.weights(self._t + 1) if full else np.full(present, 1.0 / present)
        self._step_of_round += 1

    def _full_window(self) -> bool:
        return all(self._store.sizes(self._t - 1 - i) for i in range(self._config.num_rounds))

    def _measure(self, learnable: Learnable) -> None:
        """The newest batch's halves are the target: this theta has not learnt them."""
        random = np.random.default_rng([self.recipe.tables.seed, self._t, self._step_of_round])
        rounds = [self._t - 1 - i for i in range(self._config.num_rounds)]
        halves = [halves_of(self._store, t, random, self._prepare) for t in rounds]
        gram = gram_at(self, None, [*halves, self._split(learnable.examples)])
        self.mixer.learn(self._t, relative([gram]))

    def _split(self, examples: ExampleBatch) -> Halves:
        middle = max(len(examples) // 2, 1)
        first, second = examples.slice(0, middle), examples.slice(min(middle, len(examples) - 1), len(examples))
        return self._prepare(first), self._prepare(second)

    def _past(self) -> list[int]:
        """The past rounds that are replayed, newest first."""
        past = [self._t - i for i in range(1, self._config.num_rounds)]
        return [t for t in past if self._store.sizes(t)]

    def _replayed(self) -> list[Learnable]:
        """The next record of each past round."""
        batches = []
        for t in self._past():
            record = (self._step_of_round - 1) % len(self._store.sizes(t))
            batches.append(self._prepare(self._store.read(t, record)))
        return batches

    def _shares(self, batches: list[ExampleBatch]) -> Array:
        """(E,): a short batch weighs as much an example as a full one."""
        each = np.float32(self.recipe.batch_size)
        return np.concatenate(
            [np.full(len(b), np.float32(w) / each) for b, w in zip(batches, self._weights, strict=True)]
        )

    def _keep(self, examples: ExampleBatch) -> None:
        self._store.append(self._t, examples)
        if sum(self._store.sizes(self._t)) > self._config.max_round_examples:
            self._store.thin(self._t)


def continual_learner(schema: Schema, recipe: RecipeConfig, folder: Path, *, device: str = "cpu") -> Learner:
    """The learner that the continual trainer runs; `folder` is for the rounds of one that has a window.

    Raises InputError for a recipe of whole rounds: it has no one model that learns as examples come.
    """
    check_trainable(recipe)
    if recipe.update is None:
        return step_learner(schema, recipe, device=device)
    return WindowLearner(schema, recipe, folder, device=device)

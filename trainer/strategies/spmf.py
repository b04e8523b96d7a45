"""SPMF on whole rounds: the newest round is learnt together with a part of a reservoir of all rounds.

    round t has been scored ──> replay drawn from the reservoir, by theta_t's scores of it
                            ──> theta_{t+1} = theta_t after one pass over round t, the replay spread over its steps
                            ──> round t is offered to the reservoir

One model learns. The reservoir's size is a share of the first b rounds, and is fixed when these have been:
until then nothing is replayed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from streams.contract.columns import Array
from streams.contract.examples import ExampleBatch, concat_batches
from streams.contract.schema import Schema
from trainer.future.replaying import ReplayingLearner
from trainer.future.rounds import Rounds
from trainer.prepare import Learnable
from trainer.recipes import RecipeConfig
from trainer.strategies.reservoir import Reservoir, drawn


class ReservoirLearner(ReplayingLearner):
    """Learns a batch and a replayed one in one step, every example with the same share."""

    def learn_with(self, newest: Learnable, replayed: list[Learnable]) -> None:
        """One step along the mean loss of all. Raises FreshetError where the model has diverged."""
        examples = concat_batches([newest.examples, *(each.examples for each in replayed)])
        whole, logits = self._together(newest, replayed)
        self.check_finite(logits.detach().float().cpu().numpy())
        self._update_by_shares(logits, examples, np.full(len(examples), 1 / len(examples), dtype=np.float32))
        newest_ms = int(newest.examples.event_time_ms.max())
        self._account(newest.examples, newest.features, whole, newest_ms)


class ReservoirRounds(Rounds):
    """One model that learns rounds, and the reservoir."""

    def __init__(self, schema: Schema, recipe: RecipeConfig, folder: Path, *, device: str = "cpu") -> None:
        """`folder` holds the present round, at first b of them. Raises InputError, UnavailableError."""
        super().__init__(schema, recipe, folder, device=device)
        self._learner = ReservoirLearner(schema, recipe, device=device)
        self.reservoir: Reservoir | None = None

    def _predict(self, learnable: Learnable) -> Array:
        return self._learner.predict(learnable)

    def _end_round(self) -> None:
        replay = self._drawn()
        steps = -(-sum(self._store.sizes(self._t)) // self._recipe.batch_size)
        parts = _parts(replay, steps)
        for learnable, _ in self._round(self._t, self._recipe.batch_size):
            part = next(parts)
            self._learner.learn_with(learnable, [] if part is None else [self._prepare(part)])
        if self.reservoir is not None:
            self._offer(self.reservoir, self._t)
        elif self._t + 1 == self._config.num_rounds:
            self.reservoir = self._filled()
        self._t += 1
        if self.reservoir is not None:
            self._store.drop_before(self._t)

    def _filled(self) -> Reservoir:
        """A reservoir of the first b rounds."""
        total = sum(sum(self._store.sizes(t)) for t in self._store.rounds())
        capacity = max(int(self._config.reservoir.fraction * total), 1)
        reservoir = Reservoir(capacity, seed=self._recipe.tables.seed)
        for t in self._store.rounds():
            self._offer(reservoir, t)
        return reservoir

    def _offer(self, reservoir: Reservoir, t: int) -> None:
        reservoir.offer(concat_batches([self._store.read(t, record) for record in range(len(self._store.sizes(t)))]))

    def _drawn(self) -> ExampleBatch | None:
        """What of the reservoir is learnt again with this round."""
        if self.reservoir is None or self.reservoir.examples is None:
            return None
        held, random = self.reservoir.examples, np.random.default_rng([self._recipe.tables.seed, self._t])
        count = int(self._config.reservoir.replay * sum(self._store.sizes(self._t)))
        return held.take(drawn(held.label, self._scores(held), count, random)) if count else None

    def _scores(self, held: ExampleBatch) -> Array:
        """Logits (N,) of the present model."""
        size = self._recipe.batch_size
        parts = [held.slice(begin, begin + size) for begin in range(0, len(held), size)]
        return np.concatenate([self._learner.predict(self._prepare(part)) for part in parts])


def _parts(replay: ExampleBatch | None, steps: int) -> Iterator[ExampleBatch | None]:
    """The replay in so many parts as equal as can be, None for an empty one."""
    total = 0 if replay is None else len(replay)
    for step in range(steps):
        begin, end = total * step // steps, total * (step + 1) // steps
        yield replay.slice(begin, end) if replay is not None and end > begin else None

"""One continual model that is taught by itself, as it stood when the present round began.

    round        t-1                    t                       t+1
    learns   examples of t-1   examples of t, and what    ...
                               theta at the end of t-1
                               says of them

Rounds are periods of event time. In the first there is no teacher, and only labels are learnt. The teacher
costs one more forward pass a step, and a copy of the rows in use and the network, in memory and checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from streams.contract.columns import Array
from streams.contract.examples import ExampleBatch
from streams.contract.schema import Schema
from trainer.batch import RowBatch
from trainer.future.theta import GatheredRows, Theta, remember
from trainer.learner import Learner, Scored
from trainer.prepare import Learnable
from trainer.recipes import RecipeConfig
from trainer.strategies.dated import DatedLearner
from trainer.strategies.teacher import taught_losses

_NO_PERIOD = -(2**62)


class TaughtLearner(DatedLearner):
    """A learner whose loss has a part that compares with the teacher."""

    def __init__(self, schema: Schema, recipe: RecipeConfig, *, device: str = "cpu") -> None:
        """Raises InputError."""
        super().__init__(schema, recipe, device=device)
        assert recipe.teacher is not None, "a recipe with a teacher"
        self._config = recipe.teacher
        self._period = _NO_PERIOD
        self.teacher: Theta | None = None
        self._earlier: Tensor | None = None

    def learn(self, learnable: Learnable) -> Scored:
        self._enter_round(int(learnable.examples.event_time_ms.max()) // self._config.round_ms)
        return super().learn(learnable)

    def taught(self, batch: RowBatch) -> Tensor:
        """The teacher's logits (E,). An id that it did not know has its default row."""
        assert self.teacher is not None, "from the second round on"
        rows = GatheredRows(self, [batch])
        with torch.no_grad():
            values = rows.values(self.teacher, self.known(rows.slots, self.round - 1))
            logits: Tensor = functional_call(self.network, self.teacher.network, rows.inputs(batch, values))
        return logits.float()

    def window_state(self) -> dict[str, Array]:
        places = np.array([self._period, self.round], dtype=np.int64)
        state: dict[str, Array] = {"places": places, "born": self.born[self.vocabulary.items().slots]}
        if self.teacher is not None:
            state |= {f"rows:{name}": rows for name, rows in self.teacher.rows.items()}
            state |= {f"network:{name}": value.cpu().numpy() for name, value in self.teacher.network.items()}
        return state

    def load_window_state(self, state: Mapping[str, Array]) -> None:
        self._period, self.round = state["places"].tolist()
        self.born[self.vocabulary.items().slots] = state["born"]
        rows = {name: np.array(array) for name, array in _under("rows:", state).items()}
        network = {name: torch.tensor(array).to(self._device) for name, array in _under("network:", state).items()}
        self.teacher = Theta(rows, network) if rows else None

    def _enter_round(self, period: int) -> None:
        """Where the newest event lies in a later period, the model of now becomes the teacher."""
        if period <= self._period:
            return
        if self._period != _NO_PERIOD:
            self.teacher = remember(self)
            self.round += 1
        self._period = period

    def _begin_rows(self, batch: RowBatch) -> None:
        super()._begin_rows(batch)
        self._earlier = None if self.teacher is None else self.taught(batch)

    def _summed_loss(self, logits: Tensor, label: Tensor, weight: Tensor, examples: ExampleBatch) -> Tensor:
        if self._earlier is None:
            return super()._summed_loss(logits, label, weight, examples)
        return (weight * taught_losses(logits, label, self._earlier, self._config)).sum()


def step_learner(schema: Schema, recipe: RecipeConfig, *, device: str = "cpu") -> Learner:
    """The learner of a recipe that has no window of rounds. Raises InputError."""
    kind = Learner if recipe.teacher is None else TaughtLearner
    return kind(schema, recipe, device=device)


def _under(prefix: str, state: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}

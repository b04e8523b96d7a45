"""A learner that knows since which round each row has belonged to its id.

A slot is given away when its id is evicted, so a model of earlier holds another id's values there: the
row of an id is to be found only in models that were taken in the round of its admission or later.
"""

from __future__ import annotations

import numpy as np

from streams.contract.columns import Array
from streams.contract.schema import Schema
from trainer.batch import RowBatch
from trainer.learner import Learner
from trainer.recipes import RecipeConfig


class DatedLearner(Learner):
    """`round` is the present one, counted by whoever drives the learner; `born` (S,) that of each slot's id."""

    def __init__(self, schema: Schema, recipe: RecipeConfig, *, device: str = "cpu") -> None:
        super().__init__(schema, recipe, device=device)
        self.round = 0
        # Default rows are never admitted, and so in every model.
        self.born = np.full(self.vocabulary.num_slots, -1, dtype=np.int32)

    def known(self, slots: Array, taken: int) -> Array:
        """Which slots (U,) belonged to their present ids in a model taken at the end of round `taken`."""
        known: Array = self.born[slots] <= taken
        return known

    def _begin_rows(self, batch: RowBatch) -> None:
        super()._begin_rows(batch)
        self.born[batch.assignment.admitted.slots] = self.round

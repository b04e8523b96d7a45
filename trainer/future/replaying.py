"""A learner whose step takes examples of before along with the newest, in one forward and one backward pass."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from trainer.batch import RowBatch
from trainer.future.merge import merged
from trainer.learner import Learner
from trainer.prepare import Learnable


class ReplayingLearner(Learner):
    """Ids of replayed examples are looked up, not counted for admission: they were when they were new."""

    def _together(self, newest: Learnable, replayed: Sequence[Learnable]) -> tuple[RowBatch, Tensor]:
        """The newest examples and then the replayed ones as one batch, and their logits."""
        batch = self._rows(newest.features, newest.seen, int(newest.examples.event_time_ms.max()))
        self._begin_rows(batch)
        whole = merged([batch, *(self.find(each) for each in replayed)])
        return whole, self._forward(whole)

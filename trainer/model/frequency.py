"""Counts of how often each row is seen, for tables that learn by frequency (CF-SGD): rare rows take longer steps.

    c <- 1 + 2^(-Δ / half-life) c      at a step whose batch holds the row, Δ steps after the one before
    step of the row: rate / sqrt(c)    so never longer than the rate

FBGEMM's row-wise Adagrad computes it in its counter mode (`LearningRateMode.COUNTER_SGD`), on CPU and CUDA
alike. With a half-life H the count is about the row's share of batches times H / ln 2: CF-SGD's
α / sqrt(T p) with the horizon T at H / ln 2 steps, and p that follows a drift. The mode keeps Adagrad's
sum, too, which this rate does not read: 12 bytes a row in all.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from streams.contract.errors import InputError
from trainer.torchrec_import import (
    CounterBasedRegularizationDefinition,
    GradSumDecay,
    LearningRateMode,
    WeightDecayMode,
)

_BASE_STEP = 1 << 22
_LAST_STEP = 1 << 23
"""Steps are kept as float32, exact up to 2^24: beyond this one they are counted from `_BASE_STEP` again."""


def counting_options(half_life_steps: int | None) -> dict[str, Any]:
    """Options of a row-wise Adagrad that make it step by counts; without a half-life counts never fade.

    Raises InputError for a half-life below one step.
    """
    if half_life_steps is not None and half_life_steps < 1:
        raise InputError("is no number of steps", field="half_life_steps", value=half_life_steps,
                         remedy="give 1 or more, or None for counts that never fade")  # fmt: skip
    return {
        "weight_decay_mode": WeightDecayMode.COUNTER,
        "counter_based_regularization": CounterBasedRegularizationDefinition(
            counter_halflife=half_life_steps or -1, learning_rate_mode=LearningRateMode.COUNTER_SGD,
            grad_sum_decay=GradSumDecay.NO_DECAY, max_counter_update_freq=-1,
        ),
    }  # fmt: skip


class RowCounts:
    """The counts of one lookup module's rows: the live tensors, and their clock."""

    def __init__(self, module: Any) -> None:
        """`module`: a SplitTableBatchedEmbeddingBagsCodegen of one table, made with `counting_options`."""
        self._module = module
        ((_, self._seen_at, self._count),) = module.split_optimizer_states()

    def begin_step(self) -> None:
        """Before a lookup: keeps the clock where float32 is exact."""
        if self._step() >= _LAST_STEP:
            self.load(*self.state())

    def forget(self, places: Tensor) -> None:
        """Rows at `places` (N,) are as if never seen."""
        self._count.index_fill_(0, places, 0.0)
        self._seen_at.index_fill_(0, places, 0.0)

    def state(self) -> tuple[Tensor, Tensor]:
        """(count, age) (rows,) float32: age is steps since the row was last seen, -1 where it never was. Copies."""
        age = torch.where(self._seen_at > 0, self._step() - self._seen_at, -1.0)
        return self._count.clone(), age

    def load(self, count: Tensor, age: Tensor) -> None:
        """The inverse of `state`. An age beyond the clock's reach is cut: such a count has faded anyhow."""
        self._count.copy_(count)
        self._seen_at.copy_(torch.where(age >= 0, _BASE_STEP - age.clamp(max=_BASE_STEP - 1), 0.0))
        for clock in (self._module.iter, self._module.iter_cpu):
            clock.fill_(_BASE_STEP)

    def _step(self) -> int:
        return int(self._module.iter_cpu)

"""A recipe's method at work within a learner's step: weighs the examples, and teaches the heads."""

from __future__ import annotations

import torch
from torch import Tensor

from streams.contract.columns import Array
from streams.contract.schema import Schema
from trainer.batch import RowBatch
from trainer.delayed.config import DelayedConfig
from trainer.delayed.heads import Heads
from trainer.delayed.method import Arrived, weighted_loss
from trainer.delayed.methods import method_of

_LEAST = 1e-6
"""Weights divide by f and 1 - f: both are at least this."""


def delayed_learning(
    schema: Schema, config: DelayedConfig | None, *, seed: int, device: torch.device
) -> DelayedLearning | None:
    """What `config` asks for; None where labels are learnt as they come."""
    return None if config is None else DelayedLearning(schema, config, seed=seed, device=device)


class DelayedLearning:
    """The method with its heads, if it has any."""

    def __init__(self, schema: Schema, config: DelayedConfig, *, seed: int, device: torch.device) -> None:
        """Raises InputError for a method that is not there."""
        self.method = method_of(config.method)
        self.heads = Heads(schema, config.heads, seed=seed, device=device) if self.method.needs_heads else None
        self._inputs = torch.empty(0)

    def see(self, batch: RowBatch, of_request: Tensor, of_candidate: Tensor) -> None:
        """Keeps what the heads look at: the batch's embeddings (R, F_r, D), (E, F_c, D) and dense values, detached."""
        if self.heads is not None:
            of_both = torch.cat([batch.request_dense, of_request.detach().flatten(1)], 1)
            parts = [of_both.index_select(0, batch.request_index), batch.candidate_dense]
            self._inputs = torch.cat([*parts, of_candidate.detach().flatten(1)], 1)

    def loss(self, logits: Tensor, label: Tensor, weight: Tensor, correction: Tensor) -> Tensor:
        """The sum over E examples, all (E,), of which `see` was told; teaches the heads with weights `weight`."""
        s = logits.detach()
        f = torch.sigmoid(s).clamp(_LEAST, 1 - _LEAST)
        dp, rn = torch.zeros_like(f), torch.ones_like(f)
        if self.heads is not None:
            dp, rn = self.heads.estimate(self._inputs, s)
            self.heads.learn(self._inputs, s, label, weight, correction, self.method)
        weights = self.method.weigh(Arrived(f, label, correction, dp, rn))
        return (weight * weighted_loss(logits, weights)).sum()

    def state(self) -> dict[str, Array]:
        """Arrays for a checkpoint; empty without heads."""
        return {} if self.heads is None else self.heads.state()

    def load_state(self, state: dict[str, Array]) -> None:
        """The inverse of `state`."""
        if self.heads is not None:
            self.heads.load_state(state)

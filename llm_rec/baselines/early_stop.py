"""Epochs as long as validation says so, and the weights of the best one kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from llm_rec.held_out import measure
from llm_rec.recommender import Recommender
from llm_rec.splits import Split
from streams.contract.columns import Array

CHOSEN_BY = "ndcg_at_100"


@dataclass(frozen=True, kw_only=True, slots=True)
class StopConfig:
    """At most `epochs`; every `look_every` of them validation is measured, and `patience` looks without gain end it."""

    epochs: int = 200
    look_every: int = 5
    patience: int = 4


def fit_until_best(
    recommender: Recommender, network: torch.nn.Module, learn_epoch: Callable[[], None], split: Split,
    config: StopConfig,
) -> int:  # fmt: skip
    """Calls `learn_epoch`, then gives `network` back its weights of the best look; returns that look's epoch.

    Without any validation likes all epochs are learnt and the last weights stay.
    """
    best, best_epoch = -1.0, 0
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    for epoch in range(1, config.epochs + 1):
        network.train()
        learn_epoch()
        if epoch % config.look_every:
            continue
        found = measure(recommender, split, "valid")
        if not len(found.users):
            continue
        if (value := float(found.values[CHOSEN_BY].mean())) > best:
            best, best_epoch = value, epoch
            kept = {name: value.clone() for name, value in network.state_dict().items()}
        elif epoch - best_epoch >= config.patience * config.look_every:
            break
    if best >= 0:
        network.load_state_dict(kept)
    return best_epoch


def in_batches(histories: list[Array], batch_size: int) -> Iterator[list[Array]]:
    """All of them once, `batch_size` at a time, in an order drawn from torch's generator."""
    order = torch.randperm(len(histories)).tolist()
    for start in range(0, len(order), batch_size):
        yield [histories[place] for place in order[start : start + batch_size]]

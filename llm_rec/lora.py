"""Low-rank adapters of a frozen language model: W + (alpha / r) B A in the place of each projection W.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, section 4.1: A (r, in) is drawn,
B (out, r) begins at zero, so the adapted model begins as the pretrained one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers.pytorch_utils import Conv1D


class LowRank(nn.Module):
    """Adds a learnt matrix of rank r to a weight of shape (rows, columns)."""

    def __init__(self, weight: Tensor, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.randn(rank, columns, generator=generator) / math.sqrt(columns))
        self.up = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """The adapted weight, of the same shape."""
        return weight + self.scale * (self.up @ self.down)


def add_adapters(body: nn.Module, rank: int, *, alpha: float, seed: int) -> None:
    """Gives every projection inside `body` an adapter of that rank; all else there stays frozen."""
    body.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    projections = [module for module in body.modules() if isinstance(module, nn.Linear | Conv1D)]
    for module in projections:
        parametrize.register_parametrization(module, "weight", LowRank(module.weight, rank, alpha, generator))


@torch.no_grad()
def merge_adapters(body: nn.Module) -> None:
    """Puts the adapted weights into the places of the pretrained ones; the adapters are gone."""
    for module in list(body.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)

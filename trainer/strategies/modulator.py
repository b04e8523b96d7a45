"""What makes one model of the last k, weight by weight; every coordinate has parameters of its own.

    x (k, N, C)   C coordinates in k checkpoints, oldest first; the N rows of a table share its parameters

    linear   theta* = sum_i softmax(a)_i x_i
    gru      r = sig(W_r [h, x])   z = sig(W_z [h, x])   c = tanh(W [r h, x])   h = (1 - z) h + z c
             theta* = x_k + W_o h + b,   h = 0 before the first checkpoint

ASMG: Peng et al., RecSys 2021. The paper's GRU has no x_k in theta*: there hundreds of batches of earlier
periods train it before it serves. With it, and W_o and b at 0 first, an untrained one serves the newest model.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.strategies.config import ModulatorConfig


class LinearCoordinates(nn.Module):
    """Softmax weights over k checkpoints for each of C coordinates, uniform at first."""

    def __init__(self, checkpoints: int, coordinates: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(checkpoints, 1, coordinates))

    def forward(self, x: Tensor) -> Tensor:
        """(k, N, C) -> (N, C)."""
        return (torch.softmax(self.logits, dim=0) * x).sum(0)


class GruCoordinates(nn.Module):
    """A gated recurrent unit of h hidden values for each of C coordinates: over one scalar a checkpoint."""

    def __init__(self, coordinates: int, hidden: int, random: torch.Generator) -> None:
        super().__init__()
        scale = (hidden + 1) ** -0.5
        shape = (3, coordinates, hidden + 1, hidden)
        self.gates = nn.Parameter((2 * torch.rand(shape, generator=random) - 1) * scale)
        """Of r, z and c: from the h hidden values, then from x."""
        self.outer = nn.Parameter(torch.zeros(coordinates, hidden))
        self.bias = nn.Parameter(torch.zeros(coordinates))

    def forward(self, x: Tensor) -> Tensor:
        """(k, N, C) -> (N, C)."""
        by_coordinate = x.transpose(1, 2).unsqueeze(-1)
        h = x.new_zeros(*by_coordinate.shape[1:-1], self.outer.shape[1])
        reset, update, candidate = self.gates
        for at in by_coordinate:
            r, z = (torch.sigmoid(_product(h, at, gate)) for gate in (reset, update))
            h = (1 - z) * h + z * torch.tanh(_product(r * h, at, candidate))
        made = x[-1].T + (h * self.outer.unsqueeze(1)).sum(-1) + self.bias.unsqueeze(1)
        return made.T


class Modulator(nn.Module):
    """The coordinates of named tensors, each of C coordinates, over k checkpoints."""

    def __init__(self, coordinates: Mapping[str, int], checkpoints: int, config: ModulatorConfig, seed: int) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self._places = {name: place for place, name in enumerate(coordinates)}
        self.parts = nn.ModuleList(
            LinearCoordinates(checkpoints, size) if config.kind == "linear"
            else GruCoordinates(size, config.hidden, random)
            for size in coordinates.values()
        )  # fmt: skip

    def forward(self, name: str, x: Tensor) -> Tensor:
        """(k, N, C) of the tensor of that name -> (N, C)."""
        made: Tensor = self.parts[self._places[name]](x)
        return made


def _product(h: Tensor, x: Tensor, gate: Tensor) -> Tensor:
    """gate (C, h + 1, h) times [h, x]: h (C, N, h), x (C, N, 1) -> (C, N, h)."""
    return torch.bmm(torch.cat([h, x], dim=-1), gate)

"""Dense values on a common scale: each less its mean, over its deviation where that is above 1.

Values are only ever made quieter. What deviates less than 1, such as the logarithms of online counters, is mostly noise
that a deviation of 1 would make as loud as everything else.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PREFIX = "scale_"
"""How the names of a network's scalings begin: their tensors are counted from the stream, not learnt."""

_LONGEST_MEMORY = 200_000
"""Rows after which older ones fade: a stream's values move."""


class Scaling(nn.Module):
    """x * factor + shift of N dense values, by the mean and variance of the rows seen so far; at first x as it is."""

    factor: Tensor
    """(N,)"""
    shift: Tensor
    """(N,)"""
    mean: Tensor
    """(N,)"""
    variance: Tensor
    """(N,)"""
    count: Tensor
    """(1,): rows that mean and variance are of, `_LONGEST_MEMORY` at most."""

    def __init__(self, num_values: int) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(num_values))
        self.register_buffer("shift", torch.zeros(num_values))
        self.register_buffer("mean", torch.zeros(num_values))
        self.register_buffer("variance", torch.zeros(num_values))
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """(M, N) -> (M, N)."""
        return torch.addcmul(self.shift, x, self.factor)

    @torch.no_grad()
    def see(self, x: Tensor) -> None:
        """Takes in M more rows (M, N), which scale those to come (Chan et al. 1979: moments of two parts)."""
        variance, mean = torch.var_mean(x, dim=0, correction=0)
        self.count.add_(len(x)).clamp_(max=_LONGEST_MEMORY)
        share = len(x) / self.count
        away = mean - self.mean
        self.mean.add_(share * away)
        self.variance.mul_(1 - share).add_(share * variance + share * (1 - share) * away * away)
        self.factor.copy_(self.variance.sqrt().clamp_(min=1.0).reciprocal_())
        self.shift.copy_(-self.mean * self.factor)

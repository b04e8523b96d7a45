"""A running mean of what a run moves, which is what is validated and kept.

mean <- r mean + (1 - r) weights behind each step, r = min(decay, (1 + n) / (10 + n)) after n steps, so that the
first weights are soon forgotten. Source: Polyak and Juditsky, "Acceleration of Stochastic Approximation by
Averaging", 1992, with the mean that forgets of Tarvainen and Valpola, "Mean Teachers", NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_SLOWNESS = 10


class Average:
    """The mean of a run's weights so far; nothing where `decay` is 0: then what is shown is the weights."""

    def __init__(self, weights: Mapping[str, nn.Parameter], decay: float) -> None:
        self._weights, self._decay = dict(weights), decay
        self._means: dict[str, Tensor] = self._copied() if decay else {}
        self.steps = 0

    @torch.no_grad()
    def take(self) -> None:
        """Takes the weights in as they are behind a step."""
        if not self._decay:
            return
        self.steps += 1
        kept = min(self._decay, (1 + self.steps) / (_SLOWNESS + self.steps))
        for name, mean in self._means.items():
            mean.lerp_(self._weights[name].detach(), 1 - kept)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The models hold the mean within, and their own weights again behind it."""
        own = self._copied() if self._decay else {}
        self._put(self._means)
        try:
            yield
        finally:
            self._put(own)

    def keep(self) -> None:
        """Puts the mean in the weights' place for good."""
        self._put(self._means)

    def tensors(self) -> dict[str, Tensor]:
        """What a run's file holds of it."""
        return dict(self._means)

    def restore(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Goes on from what `tensors` gave behind as many steps."""
        self._means = {name: tensors[name].clone() for name in self._means}
        self.steps = steps

    def _copied(self) -> dict[str, Tensor]:
        return {name: weights.detach().clone() for name, weights in self._weights.items()}

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._weights[name].copy_(value)

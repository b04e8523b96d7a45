"""A running mean of all that learns, which is what is validated and kept.

mean <- r mean + (1 - r) weights behind each step, r = min(decay, (1 + n) / (10 + n)) after n steps, so that the
first weights are soon forgotten. Source: Polyak and Juditsky, "Acceleration of Stochastic Approximation by
Averaging", 1992, with the mean that forgets of Tarvainen and Valpola, "Mean Teachers", NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from llm_rec.models import Models

_SLOWNESS = 10


class Average:
    """The mean of a run's weights so far; nothing where `decay` is 0: then what is shown is the weights."""

    def __init__(self, models: Models, decay: float) -> None:
        self._models, self._decay = models, decay
        self._means: dict[str, Tensor] = models.snapshot() if decay else {}
        self.steps = 0

    @torch.no_grad()
    def take(self) -> None:
        """Takes the weights in as they are behind a step."""
        if not self._decay:
            return
        self.steps += 1
        kept = min(self._decay, (1 + self.steps) / (_SLOWNESS + self.steps))
        for name, weights in self._models.learnt():
            self._means[name].lerp_(weights.detach(), 1 - kept)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The models hold the mean within, and their own weights again behind it."""
        if not self._decay:
            yield
            return
        weights = self._models.snapshot()
        self._models.restore(self._means)
        try:
            yield
        finally:
            self._models.restore(weights)

    def keep(self) -> None:
        """Puts the mean in the weights' place for good."""
        if self._decay:
            self._models.restore(self._means)

    def tensors(self) -> dict[str, Tensor]:
        """What a run's file holds of it."""
        return dict(self._means)

    def restore(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Goes on from what `tensors` gave behind as many steps."""
        self._means = {name: held.clone() for name, held in tensors.items()}
        self.steps = steps

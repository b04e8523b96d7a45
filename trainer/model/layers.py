"""Linear layers that can be taken in two steps, and how their weights begin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, relu

from streams.contract.errors import InputError


class SplitLinear(nn.Linear):
    """A linear layer over [x_request, x_candidate], the request's product computed apart.

    W [x_r, x_c] + b = (W_r x_r + b) + W_c x_c
    """

    def __init__(self, num_request: int, num_candidate: int, num_out: int) -> None:
        super().__init__(num_request + num_candidate, num_out)
        self.num_request = num_request

    def of_request(self, x: Tensor) -> Tensor:
        """(R, num_request) -> (R, num_out), bias included."""
        return linear(x, self.weight[:, : self.num_request], self.bias)

    def of_candidate(self, x: Tensor) -> Tensor:
        """(E, num_candidate) -> (E, num_out), to be added to the request's."""
        return linear(x, self.weight[:, self.num_request :])

    def of_single(self, x: Tensor, of_request: Tensor) -> Tensor:
        """(E, num_candidate), the one request's (1, num_out) -> (E, num_out), both added."""
        return torch.addmm(of_request, x, self.weight[:, self.num_request :].t())


class Tail(nn.Sequential):
    """What follows a split first layer: ReLU, then linear layers with ReLU between them."""

    def __init__(self, widths: Sequence[int]) -> None:
        """`widths`: of the first layer's output, then of each layer after it."""
        super().__init__(*[nn.Linear(n_in, n_out) for n_in, n_out in pairwise(widths)])

    @property
    def last(self) -> nn.Linear:
        """The layer whose output leaves without ReLU."""
        layer = self[-1]
        assert isinstance(layer, nn.Linear)
        return layer

    def forward(self, x: Tensor) -> Tensor:
        """(N, widths[0]) before its ReLU -> (N, widths[-1]), no ReLU behind the last layer."""
        for layer in self:
            x = layer(relu(x))
        return x


def initialise(network: nn.Module, seed: int) -> None:
    """Weights normal with variance 2 / (n_in + n_out), biases 0 (Glorot and Bengio 2010), from `seed` alone."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 2:
                parameter.normal_(0.0, math.sqrt(2.0 / sum(parameter.shape)), generator=generator)
            else:
                parameter.zero_()


def set_prior(layer: nn.Linear, prior: float) -> None:
    """Makes the bias of the logit layer predict `prior` before anything is learnt. Raises InputError."""
    if not 0.0 < prior < 1.0:
        raise InputError("is a probability between 0 and 1, both excluded", field="prior", value=prior)
    with torch.no_grad():
        layer.bias.fill_(math.log(prior / (1.0 - prior)))


def check_widths(name: str, widths: Sequence[int], *, least: int) -> None:
    """Raises InputError unless there are `least` layers or more, each with a unit."""
    if len(widths) < least or any(width < 1 for width in widths):
        raise InputError(f"needs {least} or more positive widths", field=name, value=tuple(widths))

"""The optimizer of the dense network, its state as arrays by parameter name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from streams.contract.columns import Array
from streams.contract.errors import FormatError


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseOptimizerConfig:
    """Which optimizer learns the dense network, and how fast."""

    kind: Literal["adagrad", "adam"] = "adagrad"
    learning_rate: float = 0.002
    epsilon: float = 1e-8
    initial_accumulator: float = 0.0
    """Where Adagrad's sums of squares start: above 0, the first steps are shorter."""
    initial_boost: float = 0.0
    """By how much of itself the rate is larger at first: a network that knows nothing must not learn slowly."""
    boost_half_life_steps: float = 70.0

    def rate_at(self, step: float) -> float:
        """The rate of the step behind so many."""
        return self.learning_rate * (1.0 + self.initial_boost * math.exp2(-step / self.boost_half_life_steps))


def build_optimizer(network: nn.Module, config: DenseOptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer over all parameters of the network; one fused kernel a step."""
    parameters, rate, epsilon = list(network.parameters()), config.learning_rate, config.epsilon
    optimizer: torch.optim.Optimizer
    if config.kind == "adam":
        optimizer = torch.optim.Adam(parameters, lr=rate, eps=epsilon, fused=True)
    else:
        optimizer = torch.optim.Adagrad(
            parameters, lr=rate, eps=epsilon, initial_accumulator_value=config.initial_accumulator,
            fused=parameters[0].device.type == "cpu",
        )  # fmt: skip
    if config.initial_boost:
        _boost(optimizer, parameters[0], config)
    return optimizer


def _boost(optimizer: torch.optim.Optimizer, first: nn.Parameter, config: DenseOptimizerConfig) -> None:
    """Sets the rate before each step by the steps that the optimizer has counted, which its state holds."""

    def set_rate(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        step = float(optimizer.state.get(first, {}).get("step", 0.0))
        for group in optimizer.param_groups:
            group["lr"] = config.rate_at(step)

    optimizer.register_step_pre_hook(set_rate)


def optimizer_state(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Array]:
    """`PARAMETER/NAME` -> what the optimizer keeps of it; copies."""
    state: dict[str, Array] = {}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            state[f"{name}/{key}"] = np.array(torch.as_tensor(value).detach().cpu().numpy())
    return state


def load_optimizer_state(optimizer: torch.optim.Optimizer, network: nn.Module, state: Mapping[str, Array]) -> None:
    """The inverse of `optimizer_state`. Raises FormatError for a tensor of another parameter or shape."""
    known = dict(network.named_parameters())
    kept: dict[str, dict[str, torch.Tensor]] = {}
    for path, array in state.items():
        name, _, key = path.rpartition("/")
        if name not in known or array.shape not in ((), tuple(known[name].shape)):
            raise FormatError("is no optimizer state of this network", field=path, value=array.shape)
        # Copied: the optimizer changes it in place, and what was read from a file may be read-only.
        kept.setdefault(name, {})[key] = torch.tensor(array).to(known[name].device if array.shape else "cpu")
    for name, values in kept.items():
        optimizer.state[known[name]] = values

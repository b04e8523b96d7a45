from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from trainer.dense_optimizer import DenseOptimizerConfig, build_optimizer, load_optimizer_state, optimizer_state

BOOSTED = DenseOptimizerConfig(kind="adam", learning_rate=0.01, initial_boost=3.0, boost_half_life_steps=2.0)
KINDS: list[Literal["adagrad", "adam"]] = ["adagrad", "adam"]


def linear() -> nn.Linear:
    layer = nn.Linear(3, 1)
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def step(layer: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    """One step of a loss that differs from step to step."""
    optimizer.zero_grad()
    x = torch.arange(6.0).view(2, 3) + number
    loss: Tensor = layer(x).square().sum()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def test_rate_falls_from_its_boost_by_half_every_half_life() -> None:
    assert [BOOSTED.rate_at(n) for n in (0, 2, 4)] == pytest.approx([0.04, 0.025, 0.0175])
    assert BOOSTED.rate_at(200) == pytest.approx(0.01)
    assert DenseOptimizerConfig(learning_rate=0.01).rate_at(0) == 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_taken_at_the_rate_of_their_number(kind: Literal["adagrad", "adam"]) -> None:
    config = DenseOptimizerConfig(kind=kind, learning_rate=0.01, initial_boost=1.0, boost_half_life_steps=1.0)
    layer = linear()
    optimizer = build_optimizer(layer, config)
    rates = []
    for number in range(3):
        step(layer, optimizer, number)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.02, 0.015, 0.0125])


@pytest.mark.parametrize("kind", KINDS)
def test_optimizer_resumed_within_its_boost_ends_as_one_that_was_never_stopped(
    kind: Literal["adagrad", "adam"],
) -> None:
    config = DenseOptimizerConfig(kind=kind, learning_rate=0.01, initial_boost=3.0, boost_half_life_steps=2.0)
    whole, first, second = linear(), linear(), linear()
    steps = build_optimizer(whole, config)
    for number in range(6):
        step(whole, steps, number)
    before = build_optimizer(first, config)
    for number in range(3):
        step(first, before, number)
    second.load_state_dict(first.state_dict())
    after = build_optimizer(second, config)
    load_optimizer_state(after, second, optimizer_state(before, first))
    for number in range(3, 6):
        step(second, after, number)
    assert torch.equal(second.weight, whole.weight)
    assert torch.equal(second.bias, whole.bias)

from __future__ import annotations

import torch

from tests.support.small_model import random_inputs, schema_of
from trainer.model.dlrm import DlrmConfig
from trainer.model.network import build_network, load_network_state, network_state
from trainer.model.scaling import Scaling

SIZES = {"request_keys": 3, "candidate_keys": 2, "request_dense": 2, "candidate_dense": 2, "dim": 4}


def rows(number: int) -> torch.Tensor:
    """Values whose first column deviates much, whose second little."""
    return torch.randn(number, 2, generator=torch.Generator().manual_seed(3)) * torch.tensor([5.0, 0.1]) + 7.0


def test_values_are_as_they_are_before_anything_was_seen() -> None:
    x = rows(5)
    torch.testing.assert_close(Scaling(2)(x), x)


def test_wide_values_get_mean_0_and_deviation_1_and_narrow_ones_mean_0_alone() -> None:
    scaling, x = Scaling(2), rows(3000)
    for part in torch.split(x, 256):
        scaling.see(part)
    variance, mean = torch.var_mean(scaling(x), dim=0, correction=0)
    torch.testing.assert_close(mean, torch.zeros(2), rtol=0, atol=1e-4)
    torch.testing.assert_close(variance, torch.stack([torch.tensor(1.0), x[:, 1].var(correction=0)]), rtol=1e-3, atol=0)


def test_moments_of_many_batches_are_those_of_all_rows() -> None:
    scaling, x = Scaling(2), rows(1000)
    for part in torch.split(x, 7):
        scaling.see(part)
    variance, mean = torch.var_mean(x, dim=0, correction=0)
    torch.testing.assert_close(scaling.mean, mean, rtol=1e-4, atol=0)
    torch.testing.assert_close(scaling.variance, variance, rtol=1e-3, atol=0)


def test_what_was_seen_is_part_of_the_networks_state() -> None:
    config = DlrmConfig(bottom=(8,), top=(8,), scaled=True)
    seen, loaded = (build_network(schema_of(**SIZES), config) for _ in range(2))
    seen.see(rows(50), rows(60))
    load_network_state(loaded, {name: array.copy() for name, array in network_state(seen).items()})
    inputs = random_inputs(seen, 2, 9)
    torch.testing.assert_close(loaded(*inputs), seen(*inputs), rtol=0, atol=0)
    assert not torch.equal(seen(*inputs), build_network(schema_of(**SIZES), config)(*inputs))


def test_looking_changes_nothing() -> None:
    network = build_network(schema_of(**SIZES), DlrmConfig(bottom=(8,), top=(8,), scaled=True))
    inputs = random_inputs(network, 2, 9)
    torch.testing.assert_close(network(*inputs), network(*inputs), rtol=0, atol=0)

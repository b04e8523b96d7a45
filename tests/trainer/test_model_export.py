from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.support.small_model import random_inputs, schema_of
from trainer.model.dcn import DcnConfig
from trainer.model.dense import DenseNetwork
from trainer.model.dlrm import DlrmConfig
from trainer.model.export import PROGRAMS, export_programs
from trainer.model.network import NetworkConfig, build_network

SMALL = DlrmConfig(bottom=(8, 6), top=(16, 8))
CASES: dict[str, tuple[NetworkConfig, dict[str, int]]] = {
    "dlrm": (SMALL, {"request_keys": 3, "candidate_keys": 2, "request_dense": 2, "candidate_dense": 1}),
    "dlrm-no-ad-dense": (SMALL, {"request_keys": 3, "candidate_keys": 2, "request_dense": 2}),
    "dlrm-no-dense": (SMALL, {"request_keys": 1, "candidate_keys": 1}),
    "dlrm-folded": (SMALL, {"request_keys": 10, "candidate_keys": 2, "candidate_dense": 2}),
    "dcn": (DcnConfig(deep=(8,)), {"request_keys": 2, "candidate_keys": 2, "request_dense": 1}),
    "dcn-low-rank": (DcnConfig(rank=2, deep=(8,)), {"request_keys": 2, "candidate_keys": 1}),
}


@pytest.fixture(scope="module", params=list(CASES))
def exported(request: pytest.FixtureRequest) -> tuple[DenseNetwork, dict[str, Any]]:
    """A network, and its programs loaded from their bytes."""
    config, sizes = CASES[request.param]
    network = build_network(schema_of(**sizes), config)
    programs = export_programs(network)
    assert tuple(programs) == PROGRAMS
    return network, {name: torch.export.load(io.BytesIO(blob)) for name, blob in programs.items()}


@pytest.mark.parametrize(("num_requests", "num_candidates"), [(1, 1), (1, 2), (2, 1), (3, 5), (64, 64), (1, 4096)])
@torch.no_grad()
def test_programs_of_any_size_score_as_the_network_does(
    exported: tuple[DenseNetwork, dict[str, Any]], num_requests: int, num_candidates: int
) -> None:
    network, programs = exported
    modules = {name: program.module() for name, program in programs.items()}
    inputs = random_inputs(network, num_requests, num_candidates)
    expected = torch.sigmoid(network(*inputs))
    state = modules["request"](*inputs[:2])
    scores = torch.sigmoid(modules["candidate"](*inputs[2:], *state))
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)
    if num_requests == 1:
        single = torch.sigmoid(modules["candidate_single"](*inputs[2:4], *state))
        torch.testing.assert_close(single, expected, rtol=0, atol=1e-6)


def test_programs_name_their_parameters_as_the_network_does(exported: tuple[DenseNetwork, dict[str, Any]]) -> None:
    network, programs = exported
    for program in programs.values():
        assert set(program.state_dict) == set(network.state_dict())
        assert set(program.module().state_dict()) == set(network.state_dict())


@torch.no_grad()
def test_weights_of_a_later_version_load_into_the_programs(exported: tuple[DenseNetwork, dict[str, Any]]) -> None:
    network, programs = exported
    generator = torch.Generator().manual_seed(9)
    later = {name: 0.3 * torch.randn(t.shape, generator=generator) for name, t in network.state_dict().items()}
    modules = {name: program.module() for name, program in programs.items()}
    for module in modules.values():
        module.load_state_dict(later, strict=False)
    inputs = random_inputs(network, 1, 7)
    before = network(*inputs)
    own = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(later)
    expected = torch.sigmoid(network(*inputs))
    network.load_state_dict(own)
    scores = torch.sigmoid(modules["candidate_single"](*inputs[2:4], *modules["request"](*inputs[:2])))
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)
    assert not torch.allclose(scores, torch.sigmoid(before))


def bare(program: Any) -> Callable[..., tuple[torch.Tensor, ...]]:
    """The recipe of docs/model.md: the program's operations without checks and wrapping; returns all outputs."""
    module = program.module(check_guards=False)
    module._forward_pre_hooks.clear()
    module._forward_pre_hooks_with_kwargs.clear()
    module.graph.set_codegen(torch.fx.graph.CodeGen())
    module.recompile()
    forward: Callable[..., tuple[torch.Tensor, ...]] = module.forward
    return forward


@pytest.mark.parametrize("num_candidates", [1, 6])
@torch.no_grad()
def test_bare_programs_score_as_the_checked_ones(
    exported: tuple[DenseNetwork, dict[str, Any]], num_candidates: int
) -> None:
    network, programs = exported
    inputs = random_inputs(network, 1, num_candidates)
    state = bare(programs["request"])(*inputs[:2])
    (logits,) = bare(programs["candidate_single"])(*inputs[2:4], *state)
    checked = programs["candidate_single"].module()(*inputs[2:4], *programs["request"].module()(*inputs[:2]))
    assert torch.equal(logits, checked)

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import linear, relu

from streams.contract.errors import FormatError, InputError
from tests.support.small_model import random_inputs, schema_of
from trainer.model.dcn import DcnConfig
from trainer.model.dense import DenseNetwork
from trainer.model.dlrm import Dlrm, DlrmConfig
from trainer.model.network import (
    NetworkConfig,
    build_network,
    describe_network,
    load_network_state,
    network_config_from,
    network_state,
)

SMALL_DLRM = DlrmConfig(bottom=(8, 6), top=(16, 8))
DIRECT_DLRM = replace(SMALL_DLRM, direct=True, scaled=True)
CONFIGS = [SMALL_DLRM, DIRECT_DLRM, DcnConfig(deep=(8, 6)), DcnConfig(cross_layers=1, rank=3, deep=(8,))]
SIZES = st.fixed_dictionaries({
    "request_keys": st.integers(0, 12), "candidate_keys": st.integers(1, 5),
    "request_dense": st.integers(0, 3), "candidate_dense": st.integers(0, 3), "dim": st.sampled_from([2, 4]),
})  # fmt: skip


def mlp(weights: dict[str, Tensor], names: list[str], x: Tensor, *, relu_last: bool) -> Tensor:
    for name in names:
        x = linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])
        x = relu(x) if relu_last or name != names[-1] else x
    return x


def layers_of(weights: dict[str, Tensor], part: str) -> list[str]:
    behind = sorted({name.rsplit(".", 1)[0] for name in weights if name.startswith(f"{part}.")})
    return [f"{part}_first", *behind]


def dlrm_oracle(network: DenseNetwork, inputs: list[Tensor], row: int) -> Tensor:
    """One candidate's logit by loops over pairs, from the papers' definition and the documented column order."""
    weights, shape = dict(network.state_dict()), network.shape
    request = int(inputs[4][row])
    sides = {"scale_request": inputs[0][request], "scale_candidate": inputs[2][row]}
    scaled = {name: x * weights[f"{name}.factor"] + weights[f"{name}.shift"] if f"{name}.factor" in weights else x
              for name, x in sides.items()}  # fmt: skip
    of_request_dense, of_candidate_dense = scaled.values()
    dense = torch.cat([of_request_dense, of_candidate_dense])
    of_request, of_candidate = list(inputs[1][request]), list(inputs[3][row])
    b = mlp(weights, layers_of(weights, "bottom"), dense, relu_last=True) if len(dense) else None
    first: list[Tensor] = []
    second: list[Tensor] = []
    if b is not None:
        (of_candidate if shape.num_candidate_dense else of_request).insert(0, b)
        (second if shape.num_candidate_dense else first).append(b)
    first += [(u @ v)[None] for u, v in combinations(of_request, 2)]
    second += [(u @ a)[None] for a in of_candidate for u in of_request]
    second += [(a @ c)[None] for a, c in combinations(of_candidate, 2)]
    x = torch.cat([*first, *second])
    if "own.weight" not in weights:
        return mlp(weights, layers_of(weights, "top"), x, relu_last=False)[0]
    own = torch.cat([inputs[1][request].flatten(), of_request_dense, inputs[3][row].flatten(), of_candidate_dense])
    direct = linear(x, weights["top_first.weight"], weights["top_first.bias"])[-1] + weights["own.weight"][0] @ own
    hidden = {f"top_first.{name}": weights[f"top_first.{name}"][:-1] for name in ("weight", "bias")}
    deep = mlp(weights | hidden, layers_of(weights, "top"), x, relu_last=False)[0]
    logit: Tensor = deep + direct + weights["own.bias"][0]
    return logit


def dcn_oracle(network: DenseNetwork, inputs: list[Tensor], row: int) -> Tensor:
    weights, request = dict(network.state_dict()), int(inputs[4][row])
    x_0 = torch.cat([inputs[1][request].flatten(), inputs[0][request], inputs[3][row].flatten(), inputs[2][row]])
    x, number = x_0, 0
    names = ["cross_first", *layers_of(weights, "cross")[1:]]
    for number, name in enumerate(names):
        inner = linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])
        if f"cross_out.{number}.weight" in weights:
            inner = linear(inner, weights[f"cross_out.{number}.weight"], weights[f"cross_out.{number}.bias"])
        x = x_0 * inner + x
    deep = mlp(weights, layers_of(weights, "deep"), x_0, relu_last=True)
    return linear(torch.cat([x, deep]), weights["logit.weight"], weights["logit.bias"])[0]


def oracle(network: DenseNetwork, inputs: list[Tensor]) -> Tensor:
    """Exact probabilities (E,), candidate by candidate, in float64."""
    exact = copy.deepcopy(network).double()
    wide = [*(tensor.double() for tensor in inputs[:4]), inputs[4]]
    one: Callable[[DenseNetwork, list[Tensor], int], Tensor] = dlrm_oracle if isinstance(network, Dlrm) else dcn_oracle
    return torch.sigmoid(torch.stack([one(exact, wide, row) for row in range(len(inputs[4]))]))


def assert_same(logits: Tensor, expected: Tensor) -> None:
    assert logits.dtype == torch.float32
    torch.testing.assert_close(torch.sigmoid(logits.double()), expected, rtol=0, atol=1e-6)


def shaken(sizes: dict[str, int], config: NetworkConfig) -> DenseNetwork:
    """A network whose biases are not zero, so that a forgotten one shows."""
    network = build_network(schema_of(**sizes), config)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    request, candidate = network.shape.num_request_dense, network.shape.num_candidate_dense
    seen = [torch.randn(rows, number, generator=generator) for rows, number in ((50, request), (60, candidate))]
    network.see(seen[0] + 0.3, 2 * seen[1])
    return network


@pytest.mark.parametrize("config", CONFIGS, ids=["dlrm", "dlrm-direct", "dcn", "dcn-low-rank"])
@given(sizes=SIZES, num_requests=st.integers(1, 6), num_candidates=st.integers(1, 9))
@settings(max_examples=60, deadline=None, derandomize=True)
@torch.no_grad()
def test_every_form_of_the_network_equals_the_plain_one_candidate_by_candidate(
    config: NetworkConfig, sizes: dict[str, int], num_requests: int, num_candidates: int
) -> None:
    assume(sizes["request_keys"] + sizes["candidate_keys"] + sizes["request_dense"] + sizes["candidate_dense"] > 1)
    network = shaken(sizes, config)
    inputs = random_inputs(network, num_requests, num_candidates)
    expected = oracle(network, inputs)
    state = network.request_part(*inputs[:2])
    assert all(len(tensor) == num_requests for tensor in state)
    assert_same(network.candidate_part(*inputs[2:], *state), expected)
    assert_same(network(*inputs), expected)
    assert_same(network.plain(*(x[inputs[4]] for x in inputs[:2]), *inputs[2:4]), expected)
    for request in range(num_requests):
        own = inputs[4] == request
        of_one = [tensor[request : request + 1] for tensor in state]
        assert_same(network.candidate_single(inputs[2][own], inputs[3][own], *of_one), expected[own])


@pytest.mark.parametrize(
    "config",
    [DlrmConfig(), DlrmConfig(direct=True, scaled=True), DcnConfig(), DcnConfig(rank=32)],
    ids=["dlrm", "dlrm-direct", "dcn", "dcn-low-rank"],
)
@torch.no_grad()
def test_network_of_full_size_scores_256_candidates_as_the_plain_one(config: NetworkConfig) -> None:
    sizes = {"request_keys": 18, "candidate_keys": 8, "request_dense": 9, "candidate_dense": 4, "dim": 16}
    network = build_network(schema_of(**sizes), config)
    inputs = random_inputs(network, 1, 256)
    expected = oracle(network, inputs)
    state = network.request_part(*inputs[:2])
    assert_same(network.candidate_single(*inputs[2:4], *state), expected)
    assert_same(network.candidate_part(*inputs[2:], *state), expected)


def test_request_with_many_vectors_folds_them_into_the_weights() -> None:
    wide = {"request_keys": 12, "candidate_keys": 3}
    folding, direct = (build_network(schema_of(**wide | {"dim": dim}), SMALL_DLRM) for dim in (4, 8))
    assert [network.folds for network in (folding, direct) if isinstance(network, Dlrm)] == [True, False]


@pytest.mark.parametrize("config", CONFIGS, ids=["dlrm", "dlrm-direct", "dcn", "dcn-low-rank"])
def test_both_forms_of_forward_have_the_same_gradients(config: NetworkConfig) -> None:
    network = shaken({"request_keys": 3, "candidate_keys": 2, "request_dense": 2, "candidate_dense": 1}, config)
    inputs = random_inputs(network, 2, 8)
    for tensor in inputs[:4]:
        tensor.requires_grad_()
    wanted = [*inputs[:4], *network.parameters()]
    split = torch.autograd.grad(network(*inputs).sum(), wanted)
    repeated = [x[inputs[4]] for x in inputs[:2]]
    plain = torch.autograd.grad(network.plain(*repeated, *inputs[2:4]).sum(), wanted)
    for ours, theirs in zip(split, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [DlrmConfig(prior=0.03), DcnConfig(prior=0.03)], ids=["dlrm", "dcn"])
@torch.no_grad()
def test_untrained_network_predicts_about_the_prior(config: NetworkConfig) -> None:
    network = build_network(schema_of(request_keys=3, candidate_keys=2, dim=16), config)
    inputs = random_inputs(network, 50, 50)
    tiny = [0.01 * x for x in inputs[:4]]
    probabilities = torch.sigmoid(network(*tiny, inputs[4]))
    assert float((probabilities - 0.03).abs().max()) < 0.003


def test_network_depends_on_its_seed_alone() -> None:
    schema = schema_of(request_keys=2, candidate_keys=2)
    torch.manual_seed(1)
    first = network_state(build_network(schema, SMALL_DLRM))
    torch.manual_seed(2)
    again = build_network(schema, SMALL_DLRM)
    other = build_network(schema, DlrmConfig(**asdict(SMALL_DLRM) | {"seed": 1}))
    assert all(np.array_equal(array, first[name]) for name, array in network_state(again).items())
    assert not np.array_equal(network_state(other)["top.0.weight"], first["top.0.weight"])


@pytest.mark.parametrize("config", CONFIGS, ids=["dlrm", "dlrm-direct", "dcn", "dcn-low-rank"])
def test_described_network_is_built_again_with_the_same_weights(config: NetworkConfig) -> None:
    schema = schema_of(request_keys=2, candidate_keys=2, candidate_dense=1)
    first = shaken({"request_keys": 2, "candidate_keys": 2, "candidate_dense": 1}, config)
    second = build_network(schema, network_config_from(describe_network(config)))
    load_network_state(second, network_state(first))
    inputs = random_inputs(first, 2, 5)
    assert torch.equal(first(*inputs), second(*inputs))


@pytest.mark.parametrize(
    "description", [{"architecture": "transformer"}, {}, {"architecture": "dlrm", "top": "wide"}], ids=str
)
def test_description_of_no_network_is_refused(description: dict[str, object]) -> None:
    with pytest.raises(FormatError, match="network"):
        network_config_from(description)


def test_weights_of_another_network_are_refused_by_name() -> None:
    network = build_network(schema_of(request_keys=2, candidate_keys=2), SMALL_DLRM)
    state = network_state(network)
    wider = build_network(schema_of(request_keys=3, candidate_keys=2), SMALL_DLRM)
    with pytest.raises(FormatError, match="top_first"):
        load_network_state(network, network_state(wider))
    with pytest.raises(FormatError, match=r"top\.0\.bias"):
        load_network_state(network, {name: array for name, array in state.items() if name != "top.0.bias"})


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (DlrmConfig(top=()), "top"),
        (DlrmConfig(bottom=(0,)), "bottom"),
        (DlrmConfig(prior=1.0), "prior"),
        (DcnConfig(cross_layers=0), "cross_layers"),
        (DcnConfig(rank=-1), "rank"),
        (DcnConfig(deep=()), "deep"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_network_that_cannot_be_is_refused_naming_the_field(config: NetworkConfig, field: str) -> None:
    with pytest.raises(InputError) as refusal:
        build_network(schema_of(request_keys=1, candidate_keys=1), config)
    assert refusal.value.field == field


def test_dlrm_of_a_single_vector_is_refused() -> None:
    with pytest.raises(InputError, match="two vectors"):
        build_network(schema_of(request_keys=0, candidate_keys=1), SMALL_DLRM)


def test_direct_way_says_nothing_before_it_has_learnt() -> None:
    sizes = {"request_keys": 3, "candidate_keys": 2, "request_dense": 2, "candidate_dense": 1, "dim": 4}
    network = build_network(schema_of(**sizes), DIRECT_DLRM)
    assert isinstance(network, Dlrm)
    assert not network.own.weight.any()
    assert not network.top_first.weight[-1].any()
    network(*random_inputs(network, 2, 9)).sum().backward()
    assert network.own.weight.grad is not None
    assert network.own.weight.grad.all()

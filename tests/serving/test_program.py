"""The dense network as the scorer runs it, against the trainer's own forward; and requests put together."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from serving.scorer.batch import MAX_CANDIDATES_A_PASS, in_passes
from serving.scorer.programs import Programs
from streams.contract.features import FeatureBatch, Side
from streams.contract.schema import load_schema
from streams.datasets.registry import schema_path
from trainer.model.dcn import DcnConfig
from trainer.model.dense import DenseNetwork
from trainer.model.dlrm import DlrmConfig
from trainer.model.export import export_programs
from trainer.model.network import NetworkConfig, build_network, network_state

NETWORKS: list[NetworkConfig] = [DlrmConfig(bottom=(128, 64), top=(128, 64)), DcnConfig()]
E = 40


def network_of(config: NetworkConfig) -> DenseNetwork:
    path = schema_path("simulator:criteo")
    assert path is not None
    return build_network(load_schema(path), config)


def both_ways(network: DenseNetwork, programs: Programs, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (E,) of one made-up request: the trainer's, request repeated, and the scorer's."""
    generator, shape = torch.Generator().manual_seed(seed), network.shape
    request = (
        torch.randn(1, shape.num_request_dense, generator=generator),
        torch.randn(1, shape.num_request_keys, shape.dim, generator=generator) * 0.3,
    )
    candidate = (
        torch.randn(E, shape.num_candidate_dense, generator=generator),
        torch.randn(E, shape.num_candidate_keys, shape.dim, generator=generator) * 0.3,
    )
    with torch.inference_mode():
        logits = network.plain(request[0].expand(E, -1), request[1].expand(E, -1, -1), *candidate)
    served = programs(request, candidate, np.zeros(E, dtype=np.int32))
    return torch.sigmoid(logits), torch.sigmoid(served)


@pytest.mark.parametrize("config", NETWORKS, ids=["dlrm", "dcn"])
def test_float32_program_with_new_weights_gives_the_trainers_probabilities(config: NetworkConfig) -> None:
    programs = Programs(export_programs(network_of(config)))
    newer = network_of(dataclasses.replace(config, seed=5))
    programs.set_parameters(network_state(newer))
    trained, served = both_ways(newer, programs, seed=1)
    torch.testing.assert_close(served, trained, rtol=0, atol=1e-6)


@pytest.mark.parametrize("config", NETWORKS, ids=["dlrm", "dcn"])
def test_bfloat16_program_with_new_weights_is_near_and_keeps_near_scores_apart(config: NetworkConfig) -> None:
    programs = Programs(export_programs(network_of(config)), bfloat16=True)
    newer = network_of(dataclasses.replace(config, seed=5))
    programs.set_parameters(network_state(newer))
    trained, served = both_ways(newer, programs, seed=1)
    assert not torch.equal(served, trained)
    torch.testing.assert_close(served, trained, rtol=0, atol=2e-3)
    assert len(set(served.tolist())) == len(set(trained.tolist()))


def request_of(num_candidates: int) -> FeatureBatch:
    side = Side(np.zeros((1, 0), dtype=np.float32), np.zeros(0, dtype=np.int64), np.zeros((0, 1), dtype=np.int32))
    return FeatureBatch(side, side, np.zeros(num_candidates, dtype=np.int32))


def test_small_requests_share_a_pass_and_a_large_one_has_its_own() -> None:
    sizes = [1, 200, 50, 100, MAX_CANDIDATES_A_PASS + 1, 3]
    passes = [[len(each.request_index) for each in few] for few in in_passes([request_of(size) for size in sizes])]
    assert passes == [[1, 200, 50], [100], [MAX_CANDIDATES_A_PASS + 1], [3]]
    assert list(in_passes([])) == []

"""Small schemas, batches of random rows, and a short deterministic training run."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch

from streams.contract.schema import Feature, Schema
from trainer.model.dense import DenseNetwork
from trainer.model.network import NetworkConfig, build_network, network_state
from trainer.model.tables import Bags, LocalTables, TablesConfig


def schema_of(
    *, request_keys: int, candidate_keys: int, request_dense: int = 0, candidate_dense: int = 0, dim: int = 4
) -> Schema:
    """Categorical features u0.. and a0.., dense features x0.. and y0.., each key with its own table."""
    features = [Feature(name=f"u{i}", scope="user", kind="categorical", dim=dim) for i in range(request_keys)]
    features += [Feature(name=f"a{i}", scope="ad", kind="categorical", dim=dim) for i in range(candidate_keys)]
    features += [Feature(name=f"x{i}", scope="user", kind="dense", dtype="float") for i in range(request_dense)]
    features += [Feature(name=f"y{i}", scope="ad", kind="dense", dtype="float") for i in range(candidate_dense)]
    return Schema(name="small", features=tuple(features))


def shared_schema(dim: int = 4) -> Schema:
    """Articles read before (a bag of the request) and the article shown (the ad) share a table."""
    return Schema(
        name="news",
        features=(
            Feature(name="user", scope="user", kind="categorical", dim=dim),
            Feature(name="history", scope="user", kind="sequence", table="article", dim=dim),
            Feature(name="article", scope="ad", kind="categorical", dim=dim),
            Feature(name="age", scope="ad", kind="dense", dtype="float"),
        ),
    )


def random_inputs(network: DenseNetwork, num_requests: int, num_candidates: int, seed: int = 0) -> list[torch.Tensor]:
    """The inputs of `DenseNetwork.forward`, of deviation 0.5; where there are enough, each request has a candidate."""
    shape, g = network.shape, torch.Generator().manual_seed(seed)
    index = torch.arange(num_candidates) % num_requests
    return [
        0.5 * torch.randn(num_requests, shape.num_request_dense, generator=g),
        0.5 * torch.randn(num_requests, shape.num_request_keys, shape.dim, generator=g),
        0.5 * torch.randn(num_candidates, shape.num_candidate_dense, generator=g),
        0.5 * torch.randn(num_candidates, shape.num_candidate_keys, shape.dim, generator=g),
        index[torch.randperm(num_candidates, generator=g)],
    ]


def random_bags(rng: np.random.Generator, *, keys: int, rows: int, capacity: int, max_length: int = 4) -> Bags:
    """Bags of 0 to `max_length` rows below `capacity`."""
    lengths = rng.integers(0, max_length + 1, size=(keys, rows)).astype(np.int32)
    return Bags(rng.integers(0, capacity, size=int(lengths.sum())), lengths)


def train_steps(
    schema: Schema, network: NetworkConfig, tables: TablesConfig, *, steps: int, threads: int, batch: int = 64
) -> dict[str, Any]:
    """All weights and optimizer state after `steps` steps on random batches that depend on `steps` alone."""
    torch.set_num_threads(threads)
    rng = np.random.default_rng(3)
    dense, rows = build_network(schema, network), LocalTables(schema, tables)
    optimizer = torch.optim.Adagrad(dense.parameters(), lr=0.05)
    shape = dense.shape
    for _ in range(steps):
        request = random_bags(rng, keys=shape.num_request_keys, rows=batch, capacity=tables.capacity)
        candidate = random_bags(rng, keys=shape.num_candidate_keys, rows=batch, capacity=tables.capacity)
        of_request, of_candidate = rows.forward(request, candidate)
        x = torch.from_numpy(rng.normal(size=(batch, shape.num_request_dense)).astype(np.float32))
        y = torch.from_numpy(rng.normal(size=(batch, shape.num_candidate_dense)).astype(np.float32))
        labels = torch.from_numpy((rng.random(batch) < 0.3).astype(np.float32))
        logits = dense(x, of_request, y, of_candidate, torch.arange(batch))
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(logits, labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return {**rows.state(), **network_state(dense)}


def digest(state: dict[str, Any]) -> str:
    """A hash of every bit of `state`."""
    whole = hashlib.blake2b(digest_size=16)
    for name in sorted(state):
        whole.update(name.encode() + np.ascontiguousarray(state[name]).tobytes())
    return whole.hexdigest()

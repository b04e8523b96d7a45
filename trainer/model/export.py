"""The network as programs that a server runs without importing the trainer (torch.export).

    "request"            request_dense (R, N_r), request_embeddings (R, F_r, D) -> state, each (R, ...)
    "candidate"          candidate_dense (E, N_c), candidate_embeddings (E, F_c, D),
                         request_index (E,) int64, *state -> logits (E,)
    "candidate_single"   candidate_dense, candidate_embeddings, *state of ONE request -> logits (E,)

R and E are 1 or more. A program's state_dict has the names of the network's, so that a version's
weights go into programs that were exported for its generation. A program holds operators, names and
plain tensors, and nothing that a reader would have to unpickle or run as source: a scorer refuses it
otherwise (serving/scorer/program_archive.py).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from trainer.model.dense import DenseNetwork

PROGRAMS = ("request", "candidate", "candidate_single")
_REQUESTS, _CANDIDATES = 3, 5  # torch.export takes a sample size of 0 or 1 for a constant


class _Program(nn.Module):
    """One method of the network as a module whose parameters keep their names."""

    def __init__(self, network: DenseNetwork, method: Callable[..., Any]) -> None:
        super().__init__()
        for name, child in network.named_children():
            self.add_module(name, child)
        self._method = method

    def forward(self, *inputs: Tensor) -> Any:
        return self._method(*inputs)


def export_programs(network: DenseNetwork) -> dict[str, bytes]:
    """Program name -> bytes for `torch.export.load`; they hold the network's present weights."""
    shape = network.shape
    request = (
        torch.zeros(_REQUESTS, shape.num_request_dense),
        torch.zeros(_REQUESTS, shape.num_request_keys, shape.dim),
    )
    candidate = (
        torch.zeros(_CANDIDATES, shape.num_candidate_dense),
        torch.zeros(_CANDIDATES, shape.num_candidate_keys, shape.dim),
    )
    with torch.no_grad():
        state = network.request_part(*request)
    index = torch.zeros(_CANDIDATES, dtype=torch.int64)
    r, e = Dim("R", min=1), Dim("E", min=1)
    of_one = tuple(tensor[:1] for tensor in state)
    return {
        "request": _export(network, network.request_part, request, [r, r]),
        "candidate": _export(
            network, network.candidate_part, (*candidate, index, *state), [e, e, e, *[r] * len(state)]
        ),
        "candidate_single": _export(
            network, network.candidate_single, (*candidate, *of_one), [e, e, *[None] * len(state)]
        ),
    }


def _export(
    network: DenseNetwork, method: Callable[..., Any], inputs: tuple[Tensor, ...], first_dims: list[Any]
) -> bytes:
    shapes = tuple(None if dim is None else {0: dim} for dim in first_dims)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        program = torch.export.export(_Program(network, method).eval(), inputs, dynamic_shapes=(shapes,))
        _drop_what_is_not_needed(program)
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
    return buffer.getvalue()


def _drop_what_is_not_needed(program: Any) -> None:
    """Sample inputs would be pickled, guards are source code, and stack traces name this machine's folders."""
    program.example_inputs = None
    program._guards_code = []
    for node in program.graph.nodes:
        for name in ("stack_trace", "nn_module_stack", "torch_fn"):
            node.meta.pop(name, None)

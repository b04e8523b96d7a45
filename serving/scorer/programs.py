"""The dense network of a generation: exported programs that share one set of parameters.

    request            (R, N_r), (R, F_r, D) -> state
    candidate          (E, N_c), (E, F_c, D), request_index (E,), *state -> logits (E,)
    candidate_single   (E, N_c), (E, F_c, D), *state of one request -> logits (E,)

The weights inside the program files are placeholders: a version's are copied over them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx.graph import CodeGen

from streams.contract.columns import Array
from streams.contract.errors import FormatError

_RELU = torch.ops.aten.relu.default
_PRODUCTS = (torch.ops.aten.linear.default, torch.ops.aten.addmm.default)
PROGRAM_NAMES = ("request", "candidate", "candidate_single")
DEFAULT_ROWS = "default_rows"


class Programs:
    """The three programs over shared parameters. Not thread-safe: the caller holds the scorer's lock."""

    def __init__(self, packed: Mapping[str, bytes]) -> None:
        """Loads the programs. Raises FormatError naming one that is missing or cannot be read."""
        modules = {name: _load(name, packed) for name in PROGRAM_NAMES}
        self._request = modules["request"]
        self._candidate = modules["candidate"]
        self._candidate_single = modules["candidate_single"]
        self._parameters = _share(list(modules.values()))

    def check(self, dense: Mapping[str, Array]) -> None:
        """Raises FormatError where `dense` lacks a parameter or gives it another shape."""
        for name, parameter in self._parameters.items():
            tensor = dense.get(name)
            if tensor is None or tensor.shape != tuple(parameter.shape):
                raise FormatError("does not fit the program of its generation", field=f"dense.{name}",
                                  value=None if tensor is None else tensor.shape,
                                  remedy=f"ship a tensor of shape {tuple(parameter.shape)}")  # fmt: skip

    def set_parameters(self, dense: Mapping[str, Array]) -> None:
        """Copies a version's parameters, checked before, into all programs."""
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(torch.from_numpy(np.array(dense[name])))

    def __call__(
        self,
        request: tuple[Tensor, Tensor],
        candidate: tuple[Tensor, Tensor],
        request_index: Tensor,
    ) -> Tensor:
        """Probabilities (E,) float32; each side is (dense, embeddings)."""
        with torch.inference_mode():
            state = self._request.forward(*request)
            if len(request[0]) == 1:
                (logits,) = self._candidate_single.forward(*candidate, *state)
            else:
                (logits,) = self._candidate.forward(*candidate, request_index, *state)
            probabilities: Tensor = torch.sigmoid(logits.float())
            return probabilities


def _load(name: str, packed: Mapping[str, bytes]) -> Any:
    if name not in packed:
        raise FormatError("is missing from the generation", field=f"program.{name}")
    try:
        return _lean(torch.export.load(io.BytesIO(packed[name])).module())
    except (RuntimeError, ValueError, OSError, KeyError, AssertionError) as error:
        raise FormatError(f"is no exported program: {error}", field=f"program.{name}") from error


def _lean(module: Any) -> Any:
    """The program's bare function, (inputs) -> tuple of outputs.

    Without the checks of its inputs, which cost more than a small request's arithmetic: their widths
    were checked when they came. A ReLU overwrites a product that nothing else reads.
    """
    for node in list(module.graph.nodes):
        if node.op == "call_module" and node.target == "_guards_fn":
            module.graph.erase_node(node)
        elif node.target is _RELU and node.args[0].target in _PRODUCTS and len(node.args[0].users) == 1:
            node.target = torch.ops.aten.relu_.default
    module.graph.set_codegen(CodeGen())
    module.recompile()
    return module


def _share(modules: list[Any]) -> dict[str, Tensor]:
    """Makes the weights of the same name one tensor; returns them by name. Constants stay each program's own."""
    shared: dict[str, Tensor] = {}
    for module in modules:
        weights = module.state_dict(keep_vars=True)
        for name, tensor in weights.items():
            tensor.data = shared.setdefault(name, tensor.data)
    return shared

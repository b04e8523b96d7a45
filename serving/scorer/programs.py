"""The dense network of a generation: exported programs that share one set of parameters.

    request            (R, N_r), (R, F_r, D) -> state
    candidate          (E, N_c), (E, F_c, D), request_index (E,), *state -> logits (E,)
    candidate_single   (E, N_c), (E, F_c, D), *state of one request -> logits (E,)

The weights inside the program files are placeholders: a version's are copied over them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from serving.scorer.program import Program
from serving.scorer.program_archive import check_archive
from streams.contract.columns import Array
from streams.contract.errors import FormatError

PROGRAM_NAMES = ("request", "candidate", "candidate_single")
DEFAULT_ROWS = "default_rows"


class Programs:
    """The three programs over shared parameters. Not thread-safe: the caller holds the scorer's lock."""

    def __init__(self, packed: Mapping[str, bytes], *, bfloat16: bool = False) -> None:
        """Loads the programs; wide hidden layers compute in bfloat16 where asked.

        Raises FormatError naming a program that is missing or cannot be read.
        """
        programs = {name: _load(name, packed, bfloat16) for name in PROGRAM_NAMES}
        self._programs = list(programs.values())
        self._request = programs["request"].run
        self._candidate = programs["candidate"].run
        self._candidate_single = programs["candidate_single"].run
        self._parameters = _share(self._programs)
        self._refresh()

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
        self._refresh()

    def __call__(
        self,
        request: tuple[Tensor, Tensor],
        candidate: tuple[Tensor, Tensor],
        request_index: Array,
    ) -> Tensor:
        """Logits (E,) float32; each side is (dense, embeddings). `request_index` (E,) integers."""
        with torch.inference_mode():
            state = self._request(*request)
            if len(request[0]) == 1:
                (logits,) = self._candidate_single(*candidate, *state)
            else:
                (logits,) = self._candidate(*candidate, torch.from_numpy(request_index.astype(np.int64)), *state)
            wide: Tensor = logits.float()
            return wide

    def _refresh(self) -> None:
        for program in self._programs:
            program.refresh()


def _load(name: str, packed: Mapping[str, bytes], bfloat16: bool) -> Program:
    if name not in packed:
        raise FormatError("is missing from the generation", field=f"program.{name}")
    check_archive(name, packed[name])
    try:
        return Program(torch.export.load(io.BytesIO(packed[name])).module(), bfloat16=bfloat16)
    except Exception as error:
        # What the library raises for damage is not bounded, and a scorer must pass over a damaged generation.
        raise FormatError(f"is no exported program: {error}", field=f"program.{name}") from error


def _share(programs: list[Program]) -> dict[str, Tensor]:
    """Makes the weights of the same name one tensor; returns them by name. Constants stay each program's own."""
    shared: dict[str, Tensor] = {}
    for program in programs:
        for name, tensor in program.parameters.items():
            tensor.data = shared.setdefault(name, tensor.data)
    return shared

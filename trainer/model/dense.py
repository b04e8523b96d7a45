"""What every dense network is: a part computed once a request, and the rest once a candidate.

    request_dense (R, N_r)       ┐
    request_embeddings (R,F_r,D) ┴─ request_part ─> state: tensors (R, ...)
                                                      │
    candidate_dense (E, N_c)         ┐                ▼
    candidate_embeddings (E, F_c, D) ┼─ candidate_part ─> logits (E,)
    request_index (E,)               ┘

The split is algebra, not approximation: a linear layer over the concatenation of both sides is the
sum of one product a side, and the request's product is the same for all of its candidates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from streams.contract.schema import Schema
from trainer.model.tables import common_dim


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkShape:
    """How wide the two sides of a dense network's input are."""

    num_request_dense: int
    num_candidate_dense: int
    num_request_keys: int
    num_candidate_keys: int
    dim: int


def shape_of(schema: Schema) -> NetworkShape:
    """The input of a network over `schema`. Raises InputError where tables differ in dimension."""
    return NetworkShape(
        num_request_dense=len(schema.dense(of_request=True)),
        num_candidate_dense=len(schema.dense(of_request=False)),
        num_request_keys=len(schema.sparse(of_request=True)),
        num_candidate_keys=len(schema.sparse(of_request=False)),
        dim=common_dim(schema),
    )


class DenseNetwork(nn.Module, ABC):
    """Everything behind the tables. Parameters live in children, so exported programs share their names."""

    shape: NetworkShape

    def see(self, request_dense: Tensor, candidate_dense: Tensor) -> None:
        """What was learnt last, (R, N_r) and (E, N_c): for a network that scales its inputs. Changes no parameter."""

    @abstractmethod
    def request_part(self, request_dense: Tensor, request_embeddings: Tensor) -> tuple[Tensor, ...]:
        """(R, N_r), (R, F_r, D) -> state, each tensor (R, ...)."""

    @abstractmethod
    def candidate_part(
        self, candidate_dense: Tensor, candidate_embeddings: Tensor, request_index: Tensor, *state: Tensor
    ) -> Tensor:
        """(E, N_c), (E, F_c, D), request_index (E,) int64, state of R requests -> logits (E,)."""

    @abstractmethod
    def candidate_single(self, candidate_dense: Tensor, candidate_embeddings: Tensor, *state: Tensor) -> Tensor:
        """As `candidate_part` where all candidates belong to the one request of `state` (R = 1)."""

    @abstractmethod
    def plain(
        self,
        request_dense: Tensor,
        request_embeddings: Tensor,
        candidate_dense: Tensor,
        candidate_embeddings: Tensor,
    ) -> Tensor:
        """The network as the papers write it, the request's input repeated a candidate: (E, ...) x 4 -> logits (E,)."""

    def forward(
        self,
        request_dense: Tensor,
        request_embeddings: Tensor,
        candidate_dense: Tensor,
        candidate_embeddings: Tensor,
        request_index: Tensor,
    ) -> Tensor:
        """The faster of both forms, with gradients: (R, ...), (R, ...), (E, ...), (E, ...), (E,) -> logits (E,)."""
        # Below about four candidates a request, gathering state and slicing weights costs more than it saves.
        num_requests, num_candidates = len(request_dense), len(request_index)
        if num_candidates >= 4 * num_requests:
            state = self.request_part(request_dense, request_embeddings)
            return self.candidate_part(candidate_dense, candidate_embeddings, request_index, *state)
        aligned = torch.arange(num_candidates, device=request_index.device)
        if num_candidates != num_requests or not torch.equal(request_index, aligned):
            request_dense = request_dense.index_select(0, request_index)
            request_embeddings = request_embeddings.index_select(0, request_index)
        return self.plain(request_dense, request_embeddings, candidate_dense, candidate_embeddings)

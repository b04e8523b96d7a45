"""DCN-v2 (Wang et al. 2021), parallel: a cross network and a deep MLP over the same input, joined in the logit.

    x_0 = [request's embeddings and dense | candidate's]
    x_{l+1} = x_0 * (W_l x_l + b_l) + x_l          W_l full, or U_l V_l^T of a given rank
    logit = w [x_L, deep(x_0)] + b

Once a request: its share of the first cross product (of V_0^T x_0 where W_0 is of low rank) and of
the deep MLP's first layer. Behind the first cross layer every value depends on the candidate.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from streams.contract.errors import InputError
from trainer.model.dense import DenseNetwork, NetworkShape
from trainer.model.layers import SplitLinear, Tail, check_widths, initialise, set_prior


@dataclass(frozen=True, kw_only=True, slots=True)
class DcnConfig:
    """Depth and rank of the cross network, widths of the deep one."""

    cross_layers: int = 3
    rank: int = 0
    """Rank of the cross matrices; 0: full."""
    deep: tuple[int, ...] = (512, 256)
    prior: float = 0.1
    """The probability that an untrained network predicts, about."""
    seed: int = 0


class Dcn(DenseNetwork):
    """DCN-v2 over request and candidate; state = (x (R, n_r), cross (R, n or rank), deep (R, H))."""

    def __init__(self, shape: NetworkShape, config: DcnConfig) -> None:
        """Raises InputError for a depth, a rank, widths or a prior that cannot be."""
        super().__init__()
        _check(config)
        self.shape = shape
        n_r = shape.num_request_keys * shape.dim + shape.num_request_dense
        n_c = shape.num_candidate_keys * shape.dim + shape.num_candidate_dense
        n, inner = n_r + n_c, config.rank or n_r + n_c
        self.cross_first = SplitLinear(n_r, n_c, inner)
        self.cross = nn.ModuleList(nn.Linear(n, inner) for _ in range(config.cross_layers - 1))
        if config.rank:
            self.cross_out = nn.ModuleList(nn.Linear(inner, n) for _ in range(config.cross_layers))
        self.low_rank = config.rank > 0
        self.deep_first = SplitLinear(n_r, n_c, config.deep[0])
        self.deep = Tail(config.deep)
        self.logit = nn.Linear(n + config.deep[-1], 1)
        initialise(self, config.seed)
        set_prior(self.logit, config.prior)

    def request_part(self, request_dense: Tensor, request_embeddings: Tensor) -> tuple[Tensor, ...]:
        x = torch.cat([request_embeddings.flatten(1), request_dense], 1)
        return x, self.cross_first.of_request(x), self.deep_first.of_request(x)

    def candidate_part(
        self, candidate_dense: Tensor, candidate_embeddings: Tensor, request_index: Tensor, *state: Tensor
    ) -> Tensor:
        x_r, cross, deep = (tensor.index_select(0, request_index) for tensor in state)
        x_c = torch.cat([candidate_embeddings.flatten(1), candidate_dense], 1)
        first_cross = cross + self.cross_first.of_candidate(x_c)
        return self._behind_first(x_r, x_c, first_cross, deep + self.deep_first.of_candidate(x_c))

    def candidate_single(self, candidate_dense: Tensor, candidate_embeddings: Tensor, *state: Tensor) -> Tensor:
        x_r, cross, deep = state
        x_c = torch.cat([candidate_embeddings.flatten(1), candidate_dense], 1)
        first_cross = self.cross_first.of_single(x_c, cross)
        return self._behind_first(x_r.expand(x_c.shape[0], -1), x_c, first_cross, self.deep_first.of_single(x_c, deep))

    def plain(
        self,
        request_dense: Tensor,
        request_embeddings: Tensor,
        candidate_dense: Tensor,
        candidate_embeddings: Tensor,
    ) -> Tensor:
        x_r = torch.cat([request_embeddings.flatten(1), request_dense], 1)
        x_c = torch.cat([candidate_embeddings.flatten(1), candidate_dense], 1)
        x_0 = torch.cat([x_r, x_c], 1)
        return self._behind_first(x_r, x_c, self.cross_first(x_0), self.deep_first(x_0))

    def _behind_first(self, x_r: Tensor, x_c: Tensor, first_cross: Tensor, first_deep: Tensor) -> Tensor:
        """(E, n_r), (E, n_c), both first layers' outputs (E, n or rank), (E, H) -> logits (E,)."""
        x_0 = torch.cat([x_r, x_c], 1)
        x = torch.addcmul(x_0, x_0, self._out(0, first_cross))
        for number, layer in enumerate(self.cross, start=1):
            x = torch.addcmul(x, x_0, self._out(number, layer(x)))
        deep = torch.relu(self.deep(first_deep))
        logits: Tensor = self.logit(torch.cat([x, deep], 1)).squeeze(1)
        return logits

    def _out(self, number: int, inner: Tensor) -> Tensor:
        if not self.low_rank:
            return inner
        outer: Tensor = self.cross_out[number](inner)
        return outer


def _check(config: DcnConfig) -> None:
    check_widths("deep", config.deep, least=1)
    if config.cross_layers < 1:
        raise InputError("needs one cross layer or more", field="cross_layers", value=config.cross_layers)
    if config.rank < 0:
        raise InputError("is 0 (full) or a positive rank", field="rank", value=config.rank)

"""DLRM (Naumov et al. 2019): bottom MLP, dot products of all pairs of vectors, top MLP.

              dense ─> bottom MLP ─> b (D)          vectors: b and all embeddings
    top MLP over [b, <v_i, v_j> for i < j] ─> logit

Which products belong to whom, and when they are computed:
    request x request        once a request, through the top's first layer
    request x candidate      once a candidate; for a request with many vectors (V_r > 2 D) the request's
                             vectors are folded into the weights first (`_folded`)
    candidate x candidate    once a candidate
    b                        the request's where the ad has no dense values: then the whole bottom MLP
                             runs once a request; otherwise the candidate's, and only the request's share
                             of its first layer is computed once

With `direct`, logit = top MLP + w [b, products] + v [all embeddings, all dense values], as the wide part of
Cheng et al. 2016: w is one more unit of the top's first layer, which passes by the ReLU; v has its request's
share computed once a request.

Columns of the top's first layer: [b if the request's, request pairs | b if the candidate's,
request-candidate pairs (candidate vector by candidate vector), candidate pairs].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from streams.contract.errors import InputError
from trainer.model.dense import DenseNetwork, NetworkShape
from trainer.model.layers import SplitLinear, Tail, check_widths, initialise, set_prior
from trainer.model.pairs import Pairs
from trainer.model.scaling import Scaling


@dataclass(frozen=True, kw_only=True, slots=True)
class DlrmConfig:
    """Widths of the hidden layers; the bottom MLP ends in D units, the top in the logit."""

    bottom: tuple[int, ...] = (512, 256)
    top: tuple[int, ...] = (512, 256)
    direct: bool = False
    """Whether embeddings, dense values, b and products also reach the logit by one weight each, 0 at first."""
    scaled: bool = False
    """Whether dense values are brought to a common scale (`Scaling`), by those learnt before."""
    prior: float = 0.1
    """The probability that an untrained network predicts, about."""
    seed: int = 0


def _all_pairs(num_vectors: int) -> tuple[Tensor, Tensor]:
    first, second = torch.triu_indices(num_vectors, num_vectors, offset=1)
    return first, second


def _pairs_of_both(v_r: int, v_c: int) -> Pairs:
    """All pairs of V_r + V_c vectors: the request's, then request x candidate, then the candidate's."""
    (r_first, r_second), (c_first, c_second) = _all_pairs(v_r), _all_pairs(v_c)
    candidate = torch.arange(v_r, v_r + v_c).repeat_interleave(v_r)
    request = torch.arange(v_r).repeat(v_c)
    first = torch.cat([r_first, candidate, v_r + c_first])
    return Pairs(v_r + v_c, first, torch.cat([r_second, request, v_r + c_second]))


def _num_values(shape: NetworkShape, *, of_request: bool) -> int:
    """How many numbers one side's embeddings and dense values are."""
    if of_request:
        return shape.num_request_keys * shape.dim + shape.num_request_dense
    return shape.num_candidate_keys * shape.dim + shape.num_candidate_dense


def _scaling(config: DlrmConfig, num_values: int) -> nn.Module:
    return Scaling(num_values) if config.scaled and num_values else nn.Identity()


def _silence(*weights: Tensor) -> None:
    """Nothing passes at first: what a weight is worth is learnt, and a new id adds no noise of its own."""
    with torch.no_grad():
        for weight in weights:
            weight.zero_()


class Dlrm(DenseNetwork):
    """DLRM over request and candidate; state = ([bottom,] vectors (R, V_r, D), top (R, H))."""

    def __init__(self, shape: NetworkShape, config: DlrmConfig) -> None:
        """Raises InputError for widths or a prior that cannot be."""
        super().__init__()
        check_widths("bottom", config.bottom, least=1)
        check_widths("top", config.top, least=1)
        self.shape = shape
        self.bottom_of_candidate = shape.num_candidate_dense > 0
        self.bottom_of_request = not self.bottom_of_candidate and shape.num_request_dense > 0
        v_r = shape.num_request_keys + self.bottom_of_request
        v_c = shape.num_candidate_keys + self.bottom_of_candidate
        self.folds = v_r > 2 * shape.dim
        self.num_request_pairs = v_r * (v_r - 1) // 2
        self.request_pairs, self.candidate_pairs = Pairs(v_r, *_all_pairs(v_r)), Pairs(v_c, *_all_pairs(v_c))
        self.all_pairs = _pairs_of_both(v_r, v_c)
        if self.bottom_of_request or self.bottom_of_candidate:
            self.bottom_first = SplitLinear(shape.num_request_dense, shape.num_candidate_dense, config.bottom[0])
            self.bottom = Tail((*config.bottom, shape.dim))
        in_r = self.bottom_of_request * shape.dim + self.num_request_pairs
        in_c = self.bottom_of_candidate * shape.dim + v_r * v_c + v_c * (v_c - 1) // 2
        if not in_r + in_c:
            raise InputError("a DLRM needs two vectors or more that can interact", field="features", value=shape,
                             remedy="add a feature to the schema, or use DCN")  # fmt: skip
        self.num_hidden = config.top[0]
        self.top_first = SplitLinear(in_r, in_c, self.num_hidden + config.direct)
        self.top = Tail((*config.top, 1))
        self.direct = config.direct
        if config.direct:
            self.own = SplitLinear(_num_values(shape, of_request=True), _num_values(shape, of_request=False), 1)
        self.scale_request = _scaling(config, shape.num_request_dense)
        self.scale_candidate = _scaling(config, shape.num_candidate_dense)
        initialise(self, config.seed)
        set_prior(self.top.last, config.prior)
        if config.direct:
            _silence(self.top_first.weight[-1], self.own.weight)

    def see(self, request_dense: Tensor, candidate_dense: Tensor) -> None:
        for scale, dense in ((self.scale_request, request_dense), (self.scale_candidate, candidate_dense)):
            if isinstance(scale, Scaling):
                scale.see(dense)

    def request_part(self, request_dense: Tensor, request_embeddings: Tensor) -> tuple[Tensor, ...]:
        request_dense = self.scale_request(request_dense)
        vectors, inputs = request_embeddings, []
        bottom: tuple[Tensor, ...] = ()
        if self.bottom_of_candidate:
            bottom = (self.bottom_first.of_request(request_dense),)
        elif self.bottom_of_request:
            b = relu(self.bottom(self.bottom_first.of_request(request_dense)))
            vectors, inputs = torch.cat([b.unsqueeze(1), vectors], 1), [b]
        top = self.top_first.of_request(torch.cat([*inputs, self.request_pairs(vectors)], 1))
        return (*bottom, vectors, self._with_own(top, request_embeddings, request_dense))

    def candidate_part(
        self, candidate_dense: Tensor, candidate_embeddings: Tensor, request_index: Tensor, *state: Tensor
    ) -> Tensor:
        *bottom, request_vectors, top = (tensor.index_select(0, request_index) for tensor in state)
        candidate_dense = self.scale_candidate(candidate_dense)
        vectors, inputs = candidate_embeddings, []
        if self.bottom_of_candidate:
            b = relu(self.bottom(bottom[0] + self.bottom_first.of_candidate(candidate_dense)))
            vectors, inputs = torch.cat([b.unsqueeze(1), vectors], 1), [b]
        crossed = torch.bmm(vectors, request_vectors.transpose(1, 2)).flatten(1)
        x = torch.cat([*inputs, crossed, self.candidate_pairs(vectors)], 1)
        return self._logits(top + self.top_first.of_candidate(x), candidate_embeddings, candidate_dense)

    def candidate_single(self, candidate_dense: Tensor, candidate_embeddings: Tensor, *state: Tensor) -> Tensor:
        *bottom, request_vectors, top = state
        candidate_dense = self.scale_candidate(candidate_dense)
        vectors, inputs = candidate_embeddings, []
        if self.bottom_of_candidate:
            b = relu(self.bottom(self.bottom_first.of_single(candidate_dense, bottom[0])))
            vectors, inputs = torch.cat([b.unsqueeze(1), vectors], 1), [b]
        if self.folds:
            hidden = self._folded(inputs, vectors, request_vectors[0], top)
            return self._logits(hidden, candidate_embeddings, candidate_dense)
        crossed = torch.matmul(vectors, request_vectors[0].t()).flatten(1)
        x = torch.cat([*inputs, crossed, self.candidate_pairs(vectors)], 1)
        return self._logits(self.top_first.of_single(x, top), candidate_embeddings, candidate_dense)

    def _folded(self, inputs: list[Tensor], vectors: Tensor, request_vectors: Tensor, top: Tensor) -> Tensor:
        """Σ_i <u_i, a_j> w_ij = a_j^T (Σ_i u_i w_ij^T): V_c D products an output for V_c V_r."""
        weight = self.top_first.weight[:, self.top_first.num_request :].t()
        v_r, v_c, first = len(request_vectors), vectors.shape[1], sum(x.shape[1] for x in inputs)
        crossing = weight[first : first + v_r * v_c].view(v_c, v_r, -1)
        by_vector = torch.matmul(request_vectors.t(), crossing).flatten(0, 1)
        x = torch.cat([*inputs, vectors.flatten(1), self.candidate_pairs(vectors)], 1)
        folded = torch.cat([weight[:first], by_vector, weight[first + v_r * v_c :]], 0)
        return torch.addmm(top, x, folded)

    def plain(
        self,
        request_dense: Tensor,
        request_embeddings: Tensor,
        candidate_dense: Tensor,
        candidate_embeddings: Tensor,
    ) -> Tensor:
        request_dense, candidate_dense = self.scale_request(request_dense), self.scale_candidate(candidate_dense)
        inputs: list[Tensor] = []
        sides = [request_embeddings, candidate_embeddings]
        if self.bottom_of_request or self.bottom_of_candidate:
            b = relu(self.bottom(self.bottom_first(torch.cat([request_dense, candidate_dense], 1))))
            inputs = [b]
            sides.insert(0 if self.bottom_of_request else 1, b.unsqueeze(1))
        pairs = self.all_pairs(torch.cat(sides, 1))
        inputs.insert(1 if self.bottom_of_request else 0, pairs[:, : self.num_request_pairs])
        x = torch.cat([*inputs, pairs[:, self.num_request_pairs :]], 1)
        hidden = self._with_own(self.top_first(x), request_embeddings, request_dense)
        return self._logits(hidden, candidate_embeddings, candidate_dense)

    def _with_own(self, hidden: Tensor, embeddings: Tensor, dense: Tensor) -> Tensor:
        """The first layer's outputs (R, H [+ 1]), to the last of which the request's own values are added."""
        if not self.direct:
            return hidden
        own = self.own.of_request(torch.cat([embeddings.flatten(1), dense], 1))
        return torch.cat([hidden[:, : self.num_hidden], hidden[:, self.num_hidden :] + own], 1)

    def _logits(self, hidden: Tensor, embeddings: Tensor, dense: Tensor) -> Tensor:
        """The first layer's outputs (E, H [+ 1]) before their ReLU and the candidate's own values -> logits (E,)."""
        logits: Tensor = self.top(hidden[:, : self.num_hidden])
        if self.direct:
            own = self.own.of_candidate(torch.cat([embeddings.flatten(1), dense], 1))
            logits = logits + hidden[:, self.num_hidden :] + own
        return logits.squeeze(1)

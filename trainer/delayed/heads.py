"""Heads f_dp and f_rn: how much of an example's probability is still to come, learnt from the stream itself.

    embeddings and dense values, detached ─> linear ─> ReLU ─> linear ─> (g, h)      s = the model's logit, detached

    dp     = sigmoid(s) sigmoid(g)      a click that comes late is a click: dp never exceeds f
    1 - rn = sigmoid(s + h)             the odds of a fake negative are f / (1 - f) times the share that is late

Labels are not known to be final when they come, so the heads do not wait for them. An example without a
click is a negative at once, and a late click one positive more, which makes the stream's positive rate
dp / (1 + dp): cross-entropy of that rate has its minimum at dp itself, and likewise for 1 - rn among the
examples that were emitted without a click.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, relu

from streams.contract.columns import Array
from streams.contract.schema import Schema
from trainer.delayed.config import HeadsConfig
from trainer.delayed.method import Method, Weights
from trainer.dense_optimizer import build_optimizer, load_optimizer_state, optimizer_state
from trainer.model.dense import shape_of
from trainer.model.layers import initialise

_LEAST = 1e-6
"""1 - dp is at least this, so that its logarithm stays finite."""


class HeadsNetwork(nn.Module):
    """(E, inputs) -> g (E,), h (E,)."""

    def __init__(self, num_inputs: int, config: HeadsConfig, seed: int) -> None:
        super().__init__()
        self.first = nn.Linear(num_inputs, config.hidden)
        self.last = nn.Linear(config.hidden, 2)
        initialise(self, seed)
        with torch.no_grad():
            share = config.late_share
            self.last.weight.mul_(0.1)
            self.last.bias.copy_(torch.tensor([math.log(share / (1 - share)), math.log(share)]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(E, inputs) -> g (E,), h (E,)."""
        g, h = self.last(relu(self.first(x))).unbind(1)
        return g, h


class Heads:
    """The heads' network and its optimizer."""

    def __init__(self, schema: Schema, config: HeadsConfig, *, seed: int, device: torch.device) -> None:
        shape = shape_of(schema)
        num_vectors = shape.num_request_keys + shape.num_candidate_keys
        num_inputs = shape.num_request_dense + shape.num_candidate_dense + num_vectors * shape.dim
        self.network = HeadsNetwork(num_inputs, config, seed).to(device)
        self.optimizer = build_optimizer(self.network, config.optimizer)

    def estimate(self, x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """x (E, inputs), s (E,) -> dp (E,), rn (E,), without gradients."""
        with torch.no_grad():
            g, h = self.network(x)
            return torch.sigmoid(s) * torch.sigmoid(g), torch.sigmoid(-(s + h))

    def learn(self, x: Tensor, s: Tensor, label: Tensor, weight: Tensor, correction: Tensor, method: Method) -> None:
        """One step on E examples, all but x (E,); `label` is the one known now."""
        g, h = self.network(x.detach())
        loss = weight * (self._late(g, s.detach(), correction, method) + self._fake(h, s.detach(), label, correction))
        self.optimizer.zero_grad()
        loss.sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    @staticmethod
    def _late(g: Tensor, s: Tensor, correction: Tensor, method: Method) -> Tensor:
        log_dp = logsigmoid(s) + logsigmoid(g)
        dp = log_dp.exp()
        weights = method.weigh_late(dp.detach(), correction)
        return -(weights.positive * log_dp + weights.negative * torch.log1p(-dp.clamp(max=1 - _LEAST)))

    @staticmethod
    def _fake(h: Tensor, s: Tensor, label: Tensor, correction: Tensor) -> Tensor:
        """Among the examples emitted without a click, those of which one came."""
        fake = torch.sigmoid(s + h).detach()
        without_click = (label < 0.5).to(fake.dtype)
        weights = Weights(correction / (1 + fake), without_click * (1 - fake) / (1 + fake))
        return -(weights.positive * logsigmoid(s + h) + weights.negative * logsigmoid(-(s + h)))

    def state(self) -> dict[str, Array]:
        """Weights and optimizer as arrays for a checkpoint."""
        weights = {f"weight.{name}": t.detach().cpu().numpy() for name, t in self.network.state_dict().items()}
        sums = optimizer_state(self.optimizer, self.network)
        return weights | {f"optimizer.{name}": array for name, array in sums.items()}

    def load_state(self, state: dict[str, Array]) -> None:
        """The inverse of `state`."""
        own = {name.removeprefix("weight."): array for name, array in state.items() if name.startswith("weight.")}
        self.network.load_state_dict({name: torch.tensor(array) for name, array in own.items()})
        prefix = "optimizer."
        sums = {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
        load_optimizer_state(self.optimizer, self.network, sums)

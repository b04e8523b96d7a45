"""The attention network that turns the look of the last b rounds into their mixing weights.

    round j: counts (H,) @ embedding (H, d), dense (N,)  ─ mean or sum ─>  token (d,)
    tokens (b, d)  ── self-attention ──>  z (b, d)  ── MLP ──>  logits (b,)  ── softmax ──>  weights (b,)

It begins with uniform weights. Without the softmax the weights are the logits, moved to the sum 1: they
can be negative or above 1, so a trend can be carried on. With a free sum they could climb the losses, as
Adam and Adagrad forget a mix's size but not its sign. Weights below 0 add up to -max_negative at most:
beyond it all are drawn towards uniform, which keeps their sum and their direction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from streams.contract.columns import Array
from streams.contract.errors import FormatError
from trainer.future.config import GeneratorConfig
from trainer.future.gram import Floats, Gram, mean_gram
from trainer.future.summary import Summary, summary_from


class Generator(nn.Module):
    """counts (b, H), dense (b, N), newest first -> weights (b,)."""

    def __init__(self, num_rounds: int, num_dense: int, config: GeneratorConfig, *, softmax: bool, seed: int) -> None:
        super().__init__()
        self._num_rounds = num_rounds
        self._softmax = softmax
        self._max_negative = config.max_negative
        dim, random = config.dim, torch.Generator().manual_seed(seed)
        self.embedding = nn.Parameter(torch.randn(config.buckets, dim, generator=random) / dim**0.5)
        self.of_dense = nn.Parameter(torch.randn(num_dense, dim, generator=random) / max(num_dense, 1) ** 0.5)
        self.attend = nn.Parameter(torch.randn(3, dim, dim, generator=random) / dim**0.5)
        self.inner = nn.Parameter(
            torch.randn(num_rounds * dim, config.hidden, generator=random) / (num_rounds * dim) ** 0.5
        )
        self.inner_bias = nn.Parameter(torch.zeros(config.hidden))
        self.outer = nn.Parameter(torch.zeros(config.hidden, num_rounds))
        self.outer_bias = nn.Parameter(torch.zeros(num_rounds))

    def forward(self, counts: Tensor, dense: Tensor) -> Tensor:
        tokens = counts @ self.embedding + dense @ self.of_dense
        tokens = nn.functional.layer_norm(tokens, tokens.shape[-1:])
        query, key, value = (tokens @ part for part in self.attend)
        attended = torch.softmax(query @ key.T / tokens.shape[1] ** 0.5, dim=-1) @ value
        hidden = torch.relu(attended.reshape(-1) @ self.inner + self.inner_bias)
        # Divided by the width's root, or a wide layer would multiply the rate at which the weights move.
        logits = hidden @ self.outer / len(self.outer) ** 0.5 + self.outer_bias
        if self._softmax:
            return torch.softmax(logits, dim=-1)
        return bounded(logits - logits.mean() + 1.0 / self._num_rounds, self._max_negative)


class LearnedWeights:
    """The generator, what it has seen of the last b + 1 rounds, and its steps along the Gram-form loss."""

    def __init__(self, num_rounds: int, num_dense: int, config: GeneratorConfig, *, softmax: bool, seed: int) -> None:
        self._config = config
        self._num_rounds = num_rounds
        self.generator = Generator(num_rounds, num_dense, config, softmax=softmax, seed=seed)
        self._inputs: dict[int, Summary] = {}

    def observe(self, t: int, summary: Summary) -> None:
        self._inputs[t] = summary
        for old in [seen for seen in self._inputs if seen < t - self._num_rounds]:
            del self._inputs[old]

    def learn(self, t: int, grams: Sequence[Gram]) -> None:
        """Stochastic gradient steps on the mean of the losses, on what is known of rounds t-1 .. t-b."""
        inputs = self._known_before(t)
        gram = mean_gram(grams).definite()
        among, with_target = torch.from_numpy(gram.among).float(), torch.from_numpy(gram.with_target).float()
        parameters = list(self.generator.parameters())
        for _ in range(self._config.steps):
            weights = self.generator(*inputs)
            loss = weights @ among @ weights - 2 * weights @ with_target
            loss = loss + self._config.ridge * (weights - 1.0 / self._num_rounds).square().sum()
            steps = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for parameter, step in zip(parameters, steps, strict=True):
                    parameter.sub_(step, alpha=self._config.learning_rate)

    def weights(self, t: int) -> Floats:
        with torch.no_grad():
            weights: Floats = self.generator(*self._known_before(t)).double().numpy()
        return weights

    def state(self) -> dict[str, Array]:
        state = {f"generator/{name}": value.numpy().copy() for name, value in self.generator.state_dict().items()}
        for t, summary in self._inputs.items():
            state |= {f"round/{t}/{name}": array.copy() for name, array in summary.as_arrays().items()}
        return state

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Raises FormatError where the generator had another shape."""
        parts: dict[str, dict[str, Array]] = {}
        for path, array in state.items():
            of, _, name = path.rpartition("/")
            parts.setdefault(of, {})[name] = array
        own = self.generator.state_dict()
        saved = {name: torch.tensor(array) for name, array in parts.pop("generator").items()}
        if {n: v.shape for n, v in own.items()} != {n: v.shape for n, v in saved.items()}:
            raise FormatError("is of another shape", field="generator", value=sorted(saved),
                              remedy="resume with the recipe it was made with")  # fmt: skip
        self.generator.load_state_dict(saved)
        self._inputs = {int(of.removeprefix("round/")): summary_from(arrays) for of, arrays in parts.items()}

    def _known_before(self, t: int) -> tuple[Tensor, Tensor]:
        """counts (b, H), dense (b, N) of rounds t-1 .. t-b; a round that is not known looks like no example."""
        rounds = [self._inputs.get(t - 1 - place) for place in range(self._num_rounds)]
        counts = [_pooled(each.counts, each, self._config) if each else np.zeros(self._config.buckets)
                  for each in rounds]  # fmt: skip
        num_dense = len(self.generator.of_dense)
        dense = [_pooled(each.dense, each, self._config) if each else np.zeros(num_dense) for each in rounds]
        return torch.from_numpy(np.stack(counts)).float(), torch.from_numpy(np.stack(dense)).float()


def bounded(weights: Tensor, max_negative: float) -> Tensor:
    """Weights (b,) of sum 1, drawn towards uniform until those below 0 add up to -max_negative at most.

    Drawn by a share s, weights 1/b + s d have the negative sum max over sets S of -|S|/b - s (sum of d in S),
    and the worst set of each size holds the lowest: so s is the least of b quotients.
    """
    b = len(weights)
    away = weights - 1.0 / b
    below = -torch.sort(away).values.cumsum(0)
    allowed = max_negative + torch.arange(1, b + 1, dtype=weights.dtype) / b
    share = (allowed / below.clamp(min=1e-12)).min().clamp(max=1.0)
    return 1.0 / b + share * away


def _pooled(sums: Array, summary: Summary, config: GeneratorConfig) -> Array:
    pooled: Array = sums / max(summary.examples, 1) if config.pooling == "mean" else sums
    return pooled

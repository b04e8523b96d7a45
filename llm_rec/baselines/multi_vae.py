"""Multi-VAE: a user's likes as one multinomial draw, through a small latent vector.

Source: Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018: encoder and decoder of
equations 1 and 6, the multinomial likelihood (2), the annealed bound (7) and its schedule of section 2.2.2.
B users, J items, H hidden units, K latent ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from llm_rec.baselines.early_stop import StopConfig, fit_until_best, in_batches
from llm_rec.baselines.incidence import incidence
from llm_rec.interactions import Catalogue
from llm_rec.splits import Split
from streams.contract.columns import Array
from streams.contract.values import Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiVaeConfig:
    """The paper's 600-200-600 with dropout 0.5; `most_beta` is reached after `anneal_steps` batches."""

    hidden: int = 600
    latent: int = 200
    dropout: float = 0.5
    most_beta: float = 0.2
    anneal_steps: int = 1_000
    batch_size: int = 200
    learning_rate: float = 1e-3
    stop: StopConfig = field(default_factory=StopConfig)


class _Network(nn.Module):
    def __init__(self, num_items: int, config: MultiVaeConfig) -> None:
        super().__init__()
        self._dropout = config.dropout
        self._encoder = nn.Sequential(nn.Linear(num_items, config.hidden), nn.Tanh())
        self._moments = nn.Linear(config.hidden, 2 * config.latent)
        self._decoder = nn.Sequential(nn.Linear(config.latent, config.hidden), nn.Tanh(),
                                      nn.Linear(config.hidden, num_items))  # fmt: skip

    def forward(self, likes: Tensor) -> tuple[Tensor, Tensor]:
        """likes (B, J) of 0 and 1 -> logits (B, J), divergence from the prior (B,); the latent is drawn in training."""
        units = functional.dropout(functional.normalize(likes, dim=1), self._dropout, self.training)
        mean, log_variance = self._moments(self._encoder(units)).chunk(2, dim=1)
        divergence = 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum(dim=1)
        if self.training:
            mean = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return self._decoder(mean), divergence


class MultiVae:
    """Scores are the logits of the latent's mean, given the history."""

    name = "multi-vae"

    def __init__(self, config: MultiVaeConfig) -> None:
        self._config = config
        self._num_items = 0
        self._network: _Network | None = None

    def fit(self, split: Split, catalogue: Catalogue, *, seed: int) -> None:
        """Learns each user's likes from themselves, stopped by validation; the global generator is untouched."""
        self._num_items = len(split.items)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._network = _Network(self._num_items, self._config)
            trainer = _Trainer(self._network, split, self._config)
            fit_until_best(self, self._network, trainer.epoch, split, self._config.stop)

    @torch.no_grad()
    def scores(self, users: Array, histories: list[Array]) -> Floats:
        """(B, J)."""
        assert self._network is not None, "fitted before it is asked"
        logits: Floats = self._network.eval()(torch.from_numpy(incidence(histories, self._num_items)))[0].numpy()
        return logits


class _Trainer:
    def __init__(self, network: _Network, split: Split, config: MultiVaeConfig) -> None:
        self._network, self._config = network, config
        self._histories = [items for items in split.train if len(items)]
        self._num_items = len(split.items)
        self._optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
        self._step = 0

    def epoch(self) -> None:
        """Every user once, in a drawn order."""
        for histories in in_batches(self._histories, self._config.batch_size):
            self._learn(torch.from_numpy(incidence(histories, self._num_items)))

    def _learn(self, likes: Tensor) -> None:
        logits, divergence = self._network(likes)
        beta = float(np.minimum(self._config.most_beta, self._step / self._config.anneal_steps))
        log_likelihood = (functional.log_softmax(logits, dim=1) * likes).sum(dim=1)
        self._optimizer.zero_grad()
        (beta * divergence - log_likelihood).mean().backward()
        self._optimizer.step()
        self._step += 1

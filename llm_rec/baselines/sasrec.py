"""SASRec: self-attention over the history, each place telling the next item.

Source: Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018. The loss is the softmax over the whole
catalogue in place of one drawn negative, which is what makes it strong (Klenitskiy and Vasilev, "Turning Dross Into
Gold Loss", RecSys 2023). A start token stands before the oldest item, so that an empty history has an answer, too.
B users, T places, J items, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from llm_rec.baselines.early_stop import StopConfig, fit_until_best, in_batches
from llm_rec.interactions import Catalogue
from llm_rec.splits import Split
from streams.contract.columns import Array
from streams.contract.values import Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class SasRecConfig:
    """Two blocks as in the paper; `max_length` newest items are read."""

    dim: int = 64
    blocks: int = 2
    heads: int = 2
    dropout: float = 0.3
    max_length: int = 50
    batch_size: int = 128
    learning_rate: float = 1e-3
    stop: StopConfig = field(default_factory=StopConfig)


class _Network(nn.Module):
    def __init__(self, num_items: int, config: SasRecConfig) -> None:
        super().__init__()
        self.items = nn.Embedding(num_items + 1, config.dim)
        self._places = nn.Embedding(config.max_length + 1, config.dim)
        nn.init.normal_(self.items.weight, std=config.dim**-0.5)
        nn.init.normal_(self._places.weight, std=config.dim**-0.5)
        layer = nn.TransformerEncoderLayer(config.dim, config.heads, config.dim, config.dropout, batch_first=True,
                                           norm_first=True)  # fmt: skip
        self._blocks = nn.TransformerEncoder(layer, config.blocks, nn.LayerNorm(config.dim),
                                             enable_nested_tensor=False)  # fmt: skip
        self._dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, T) -> states (B, T, D), each of the tokens up to its own place."""
        length = tokens.shape[1]
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        states: Tensor = self._blocks(self._dropout(self.items(tokens) + self._places.weight[:length]), mask=later)
        return states

    def logits(self, states: Tensor) -> Tensor:
        """states (..., D) -> (..., J), by the items' own embeddings."""
        return states @ self.items.weight[:-1].T


class SasRec:
    """Scores are the logits behind the newest item of the history."""

    name = "sasrec"

    def __init__(self, config: SasRecConfig) -> None:
        self._config = config
        self._network: _Network | None = None

    def fit(self, split: Split, catalogue: Catalogue, *, seed: int) -> None:
        """Learns every next item of every user, stopped by validation. The global generator is untouched."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._network = _Network(len(split.items), self._config)
            trainer = _Trainer(self._network, split, self._config)
            fit_until_best(self, self._network, trainer.epoch, split, self._config.stop)

    @torch.no_grad()
    def scores(self, users: Array, histories: list[Array]) -> Floats:
        """(B, J)."""
        assert self._network is not None, "fitted before it is asked"
        tokens, lengths = sequences(histories, self._network.items.num_embeddings - 1, self._config.max_length)
        states = self._network.eval()(tokens)[torch.arange(len(histories)), lengths - 1]
        scores: Floats = self._network.logits(states).numpy()
        return scores


def sequences(histories: list[Array], start: int, max_length: int) -> tuple[Tensor, Tensor]:
    """(B, T) int64: `start`, then the newest items, filled up with `start`; and how many of them count (B,)."""
    newest = [history[-max_length:] for history in histories]
    lengths = np.array([1 + len(history) for history in newest], dtype=np.int64)
    tokens = np.full((len(histories), int(lengths.max(initial=1))), start, dtype=np.int64)
    for row, history in zip(tokens, newest, strict=True):
        row[1 : 1 + len(history)] = history
    return torch.from_numpy(tokens), torch.from_numpy(lengths)


class _Trainer:
    def __init__(self, network: _Network, split: Split, config: SasRecConfig) -> None:
        self._network, self._config = network, config
        self._histories = [items for items in split.train if len(items)]
        self._optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)

    def epoch(self) -> None:
        """Every user once, in a drawn order."""
        for histories in in_batches(self._histories, self._config.batch_size):
            self._learn(histories)

    def _learn(self, histories: list[Array]) -> None:
        start = self._network.items.num_embeddings - 1
        tokens, lengths = sequences(histories, start, self._config.max_length + 1)
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        told = torch.arange(targets.shape[1]) < (lengths - 1)[:, None]
        loss = functional.cross_entropy(self._network.logits(self._network(inputs)[told]), targets[told])
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

"""LightGBM, fitted anew on the newest examples again and again; the newest fit predicts.

Ids come to the trees as past counts and rates (`past_rates.py`). Before the first fit the rate so far is predicted.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from streams.contract.columns import Array
from streams.contract.schema import Schema
from trainer.peers.config import PeerConfig
from trainer.peers.flat import Flat
from trainer.peers.packages import imported
from trainer.peers.past_rates import PastRates
from trainer.peers.peer import BatchPeer


@dataclass(frozen=True, kw_only=True, slots=True)
class LightGbmConfig(PeerConfig):
    """When it is fitted, on how much, and how."""

    first_fit: int = 2_000
    """Examples before the first fit; the next ones come when as many again were seen, until `refit_every`."""
    refit_every: int = 10_000
    window: int = 200_000
    """The newest so many examples are fitted."""
    num_trees: int = 100
    num_leaves: int = 31
    learning_rate: float = 0.05
    min_leaf_examples: int = 100
    smoothing: float = 20.0
    """Shows that the rate of everything weighs in an id's rate."""


class LightGbm(BatchPeer):
    """The newest fit, and the examples for the next."""

    def __init__(self, schema: Schema, config: LightGbmConfig) -> None:
        """Raises InputError where the package is absent."""
        self._lightgbm = imported("lightgbm", package="lightgbm")
        self._config = config
        self._rates = PastRates(config.smoothing)
        self._window: deque[tuple[Array, Array, Array]] = deque()
        self._booster: Any = None
        self._num_in_window = self._num_seen = self._fitted_at = 0
        self._shows, self._clicks = 10.0, 1.0
        self._flat: Flat | None = None
        self._inputs: Array = np.zeros((0, 0), dtype=np.float32)

    def predict(self, flat: Flat) -> Array:
        self._flat, self._inputs = flat, np.concatenate([flat.dense, self._rates(flat)], axis=1)
        if self._booster is None:
            rate = self._clicks / self._shows
            return np.full(len(flat), np.log(rate / (1 - rate)), dtype=np.float32)
        logit: Array = self._booster.predict(self._inputs, raw_score=True, num_threads=torch.get_num_threads())
        return logit.astype(np.float32)

    def learn(self, label: Array, weight: Array) -> None:
        assert self._flat is not None, "predicted before"
        self._rates.learn(self._flat, label, weight)
        self._shows += float(weight.sum())
        self._clicks += float((weight * label).sum())
        self._remember(label, weight)
        wait = min(self._config.refit_every, max(self._config.first_fit, self._fitted_at))
        if self._num_seen - self._fitted_at >= wait:
            self._fit()

    def _remember(self, label: Array, weight: Array) -> None:
        self._window.append((self._inputs, label, weight))
        self._num_seen += len(label)
        self._num_in_window += len(label)
        while self._num_in_window - len(self._window[0][1]) >= self._config.window:
            self._num_in_window -= len(self._window.popleft()[1])

    def _fit(self) -> None:
        inputs, label, weight = (np.concatenate(column) for column in zip(*self._window, strict=True))
        if label.min() == label.max():
            return
        data = self._lightgbm.Dataset(inputs, label=label, weight=weight, free_raw_data=True)
        self._booster = self._lightgbm.train(self._parameters(), data, num_boost_round=self._config.num_trees)
        self._fitted_at = self._num_seen

    def _parameters(self) -> dict[str, Any]:
        config = self._config
        return {
            "objective": "binary", "num_leaves": config.num_leaves, "learning_rate": config.learning_rate,
            "min_data_in_leaf": config.min_leaf_examples, "seed": config.seed, "deterministic": True,
            "force_row_wise": True, "num_threads": torch.get_num_threads(), "verbosity": -1,
        }  # fmt: skip

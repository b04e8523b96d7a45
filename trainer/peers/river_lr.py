"""River's logistic regression over a dictionary of features, one example at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from streams.contract.schema import Schema
from trainer.peers.config import NumberForm, PeerConfig
from trainer.peers.dictionaries import dictionaries
from trainer.peers.flat import Flat, num_numbers, words_of
from trainer.peers.logits import logit_of
from trainer.peers.number_forms import NumberForms
from trainer.peers.packages import imported
from trainer.peers.peer import ExamplePeer


@dataclass(frozen=True, kw_only=True, slots=True)
class RiverLrConfig(PeerConfig):
    """Optimizer of the weights, rate of the intercept."""

    optimizer: Literal["ftrl", "adagrad"] = "ftrl"
    learning_rate: float = 0.05
    """FTRL's alpha, or Adagrad's rate."""
    beta: float = 1.0
    l1: float = 0.0
    l2: float = 0.0
    """FTRL's alone."""
    intercept_rate: float = 0.01
    numbers: NumberForm = "both"


class RiverLr(ExamplePeer):
    """One model, its weights by name of feature."""

    def __init__(self, schema: Schema, config: RiverLrConfig) -> None:
        """Raises InputError where the package is absent."""
        linear, optim = (imported(f"river.{part}", package="river") for part in ("linear_model", "optim"))
        self._forms = NumberForms(num_numbers(schema), config.numbers)
        if config.optimizer == "ftrl":
            optimizer = optim.FTRLProximal(alpha=config.learning_rate, beta=config.beta, l1=config.l1, l2=config.l2)
        else:
            optimizer = optim.AdaGrad(lr=config.learning_rate)
        self._model = linear.LogisticRegression(optimizer=optimizer, intercept_lr=config.intercept_rate)

    def read(self, flat: Flat) -> list[Any]:
        flat = self._forms(flat)
        words = words_of(flat)
        return dictionaries(flat, words, words.names.tolist())

    def predict(self, example: dict[Any, float]) -> float:
        return logit_of(self._model.predict_proba_one(example)[True])

    def learn(self, example: dict[Any, float], label: float, weight: float) -> None:
        self._model.learn_one(example, label > 0, w=weight)

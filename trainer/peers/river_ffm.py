"""River's field-aware factorisation machine (Juan et al. 2016), one example at a time.

It has a latent vector for each pair of a feature and a field, and works through all pairs of an example's features in
Python, so its time grows with their square: of a bag it gets the newest few ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from streams.contract.schema import Schema
from trainer.peers.config import NumberForm, PeerConfig
from trainer.peers.dictionaries import dictionaries
from trainer.peers.flat import Flat, num_numbers, with_newest, words_of
from trainer.peers.logits import logit_of
from trainer.peers.number_forms import NumberForms
from trainer.peers.packages import imported
from trainer.peers.peer import ExamplePeer


@dataclass(frozen=True, kw_only=True, slots=True)
class RiverFfmConfig(PeerConfig):
    """Sizes and rates; the weights learn by Adagrad, the latent vectors by SGD."""

    num_factors: int = 4
    weight_rate: float = 0.1
    latent_rate: float = 0.05
    latent_scale: float = 0.1
    """Standard deviation of the latent vectors' first values."""
    intercept_rate: float = 0.01
    newest_of_bag: int = 2
    numbers: NumberForm = "values"


class RiverFfm(ExamplePeer):
    """One model; River takes the field from a feature's name, where it stands before the underscore."""

    def __init__(self, schema: Schema, config: RiverFfmConfig) -> None:
        """Raises InputError where the package is absent."""
        facto, optim = (imported(f"river.{part}", package="river") for part in ("facto", "optim"))
        self._newest = config.newest_of_bag
        self._forms = NumberForms(num_numbers(schema), config.numbers)
        self._model = facto.FFMClassifier(
            n_factors=config.num_factors, seed=config.seed, intercept_lr=config.intercept_rate,
            weight_optimizer=optim.AdaGrad(lr=config.weight_rate), latent_optimizer=optim.SGD(lr=config.latent_rate),
            latent_initializer=optim.initializers.Normal(mu=0.0, sigma=config.latent_scale, seed=config.seed),
        )  # fmt: skip

    def read(self, flat: Flat) -> list[Any]:
        flat = self._forms(with_newest(flat, self._newest))
        words = words_of(flat)
        names = [f"{key}_{name}" for key, name in zip(words.keys.tolist(), words.names.tolist(), strict=True)]
        return dictionaries(flat, words, names)

    def predict(self, example: dict[str, float]) -> float:
        return logit_of(self._model.predict_proba_one(example)[True])

    def learn(self, example: dict[str, float], label: float, weight: float) -> None:
        self._model.learn_one(example, label > 0, weight)

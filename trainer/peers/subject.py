"""A peer as the subject of an evaluation: the same transform, counters and scores as Freshet's own learner has."""

from __future__ import annotations

import numpy as np

from streams.contract.errors import FreshetError, InputError
from streams.contract.examples import ExampleBatch
from streams.contract.features import FeatureTransform
from streams.contract.schema import Schema
from streams.counters.online import OnlineCounters
from trainer.learner import Learner, Scored
from trainer.peers.build import build_peer
from trainer.peers.flat import flattened
from trainer.peers.named import COUNTERS_SUFFIX
from trainer.prepare import transform
from trainer.progressive import Progressive
from trainer.recipes import RecipeConfig


class PeerSubject:
    """One peer at work."""

    def __init__(self, schema: Schema, recipe: RecipeConfig, *, device: str = "cpu") -> None:
        """`schema` as the recipe learns it. Raises InputError for a package, device or counters that are not there."""
        assert recipe.peer is not None, "a recipe of a peer"
        _check(schema, recipe, device)
        self._recipe = recipe
        self._to_features = FeatureTransform(schema)
        self._counters = OnlineCounters(schema, kind=recipe.kind) if schema.counters else None
        self._progressive = Progressive(recipe.progressive)
        self._peer = build_peer(schema, recipe.peer)

    @property
    def progressive(self) -> Progressive:
        return self._progressive

    def take(self, examples: ExampleBatch) -> Scored:
        """Raises FreshetError where a prediction is not finite."""
        features = transform(examples, self._to_features)
        if self._counters is not None:
            examples, features = self._counters.take(examples, features)
        logit = self._peer.take(flattened(features), examples.label, examples.weight)
        if not np.isfinite(logit).all():
            raise FreshetError(
                "predictions are not finite: the peer has diverged",
                field="recipe", value=self._recipe.name, remedy="lower its rates in trainer/peers/named.py",
            )  # fmt: skip
        return Scored(logit, self._progressive.add(examples, logit))

    def learner_of_steps(self) -> Learner:
        """Raises InputError: a peer is told its labels at once."""
        raise InputError("is a peer, which learns every label at its impression", field="recipe",
                         value=self._recipe.name, remedy="leave out --labels delayed, or the peer")  # fmt: skip

    def close(self) -> None:
        """Gives back what the peer holds."""
        self._peer.close()


def _check(schema: Schema, recipe: RecipeConfig, device: str) -> None:
    if device != "cpu":
        raise InputError("peers run on the CPU", field="device", value=device,
                         remedy=f"leave out --device, or the recipe {recipe.name}")  # fmt: skip
    if recipe.use_counters and not schema.counters:
        plain = recipe.name.removesuffix(COUNTERS_SUFFIX)
        raise InputError("the schema has no counters", field="recipe", value=recipe.name,
                         remedy=f"use {plain}, or a schema with [[counters]]")  # fmt: skip

"""A network whose scores betray which version's dense parameters and which version's rows made them.

The parameters and default rows of version v are `constant(v)`; so is every row that v writes. It
writes a sixth of the rows and takes some of them away (`Rule`), so at any version it is known which
version each row is from. A candidate's dense values choose what its score shows:

    show_dense    the dense part       show_ad    the ad's row       show_unit    mean of the unit's rows
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from streams.contract.columns import Array, Jagged
from streams.contract.features import FeatureBatch, FeatureTransform
from streams.contract.schema import Feature, Schema
from trainer.model.dense import DenseNetwork, shape_of

DIM = 4
SHOWS = ("show_dense", "show_ad", "show_unit")
_STEPS = 1000
_GROUPS = 6


def betraying_schema() -> Schema:
    """A unit, its history of ads, an ad, and what its score shall show."""
    shown = tuple(Feature(name=name, scope="ad", kind="dense", dtype="float") for name in SHOWS)
    return Schema(
        name="betraying",
        features=(
            Feature(name="unit", scope="user", kind="categorical", dtype="int", dim=DIM),
            Feature(name="history", scope="user", kind="sequence", dtype="int", table="ad", dim=DIM),
            Feature(name="ad", scope="ad", kind="categorical", dtype="int", dim=DIM),
            *shown,
        ),
    )


def constant(version: int) -> float:
    """A logit in [-2, 2) that tells neighbouring versions apart."""
    return 4.0 * ((version * 7) % _STEPS) / _STEPS - 2.0


class BetrayingNetwork(DenseNetwork):
    """state = (mean of the request's embeddings (R,),)."""

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.shape = shape_of(schema)
        self.dense = nn.Linear(1, 1, bias=False)

    def request_part(self, request_dense: Tensor, request_embeddings: Tensor) -> tuple[Tensor, ...]:
        return (request_embeddings.mean(dim=(1, 2)),)

    def candidate_part(
        self, candidate_dense: Tensor, candidate_embeddings: Tensor, request_index: Tensor, *state: Tensor
    ) -> Tensor:
        return self._logits(candidate_dense, candidate_embeddings, state[0].index_select(0, request_index))

    def candidate_single(self, candidate_dense: Tensor, candidate_embeddings: Tensor, *state: Tensor) -> Tensor:
        return self._logits(candidate_dense, candidate_embeddings, state[0])

    def plain(
        self, request_dense: Tensor, request_embeddings: Tensor, candidate_dense: Tensor, candidate_embeddings: Tensor
    ) -> Tensor:
        return self._logits(candidate_dense, candidate_embeddings, request_embeddings.mean(dim=(1, 2)))

    def _logits(self, candidate_dense: Tensor, candidate_embeddings: Tensor, unit: Tensor) -> Tensor:
        of_dense: Tensor = self.dense(candidate_dense[:, :1])[:, 0]
        of_ad = candidate_dense[:, 1] * candidate_embeddings.mean(dim=(1, 2))
        return of_dense + of_ad + candidate_dense[:, 2] * unit


def betraying_request(transform: FeatureTransform, unit: int, history: list[int], ads: list[int]) -> FeatureBatch:
    """One request in which every third candidate shows the dense part, its ad's row, the unit's rows."""
    shown = {name: (np.arange(len(ads)) % len(SHOWS) == place).astype(np.float64) for place, name in enumerate(SHOWS)}
    return transform(
        {"unit": np.array([unit]), "history": Jagged(np.array(history), np.array([len(history)], dtype=np.int32))},
        {"ad": np.array(ads), **shown},
        np.zeros(len(ads), dtype=np.int32),
        num_requests=1,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """Which version wrote which row of a generation whose first version has no rows."""

    first_version: int
    num_ads: int
    num_units: int

    def written(self, count: int, version: int) -> tuple[list[int], list[int]]:
        """(ids below `count` whose rows `version` writes, those whose rows it takes away)."""
        due = [one for one in range(count) if (version - one) % _GROUPS == 0]
        gone = [one for one in due if self._takes_away(one, version)]
        return [one for one in due if one not in gone], gone

    def expected(self, unit: int, history: list[int], ads: list[int], version: int) -> Array:
        """The logits of a request that is scored with `version`."""
        of_unit = self._row(unit, self.num_units, version)
        of_history = sum(self._row(one, self.num_ads, version) for one in history) / len(history)
        shown = [
            (constant(version), self._row(ad, self.num_ads, version), (of_unit + of_history) / 2)[place % len(SHOWS)]
            for place, ad in enumerate(ads)
        ]
        return np.array(shown)

    def _row(self, one: int, count: int, version: int) -> float:
        writer = version - (version - one) % _GROUPS
        known = one < count and writer > self.first_version and not self._takes_away(one, writer)
        return constant(writer if known else version)

    def _takes_away(self, one: int, version: int) -> bool:
        return one % 5 == 0 and (version // _GROUPS) % 2 == 1


def torn(probabilities: Array, expected_logits: Array) -> bool:
    """Whether any of the scores (E,) comes, in part or whole, from another version."""
    return bool(np.abs(probabilities - 1.0 / (1.0 + np.exp(-expected_logits))).max() > 1e-5)


def set_version(network: BetrayingNetwork, version: int) -> None:
    """Gives the dense part the constant of `version`."""
    with torch.no_grad():
        network.dense.weight.fill_(constant(version))

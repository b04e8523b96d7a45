"""Recommenders by name, each with the full configs among which validation chooses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from llm_rec.baselines.ease import Ease, EaseConfig
from llm_rec.baselines.item_knn import ItemKnn, ItemKnnConfig
from llm_rec.baselines.multi_vae import MultiVae, MultiVaeConfig
from llm_rec.baselines.popularity import Popularity, PopularityConfig
from llm_rec.baselines.sasrec import SasRec, SasRecConfig
from llm_rec.cllm4rec import CLLM4Rec
from llm_rec.cllm4rec_recipes import (
    cllm4rec_small,
    cllm4rec_small_mixed,
    cllm4rec_small_paper,
    llm_cf_small,
    llm_fixord_small,
    llm_prerec_small,
    llm_unread_small,
)
from llm_rec.config import Cllm4recConfig
from llm_rec.recommender import Recommender
from streams.contract.errors import InputError

BASE = "popularity"
OURS = "cllm4rec-small"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Label -> function returning a recommender with that config: the grid, in the order of the table."""

    candidates: dict[str, Callable[[], Recommender]]
    drawn: bool = False
    """Whether the fit depends on the seed."""
    needs_time: bool = False
    """Whether each like's time must be known, not only the order."""


def recipe(name: str) -> Recipe:
    """The recipe of that name. Raises InputError for an unknown one."""
    if name not in RECIPES:
        raise InputError("unknown recommender", field="recommender", value=name,
                         remedy=f"use one of {', '.join(RECIPES)}")  # fmt: skip
    return RECIPES[name]


def _popularity() -> Recipe:
    return Recipe(candidates={"all likes": partial(Popularity, PopularityConfig())})


def _recent_popularity() -> Recipe:
    days = (7.0, 30.0, 90.0, 365.0)
    return Recipe(needs_time=True, candidates={
        f"half-life {each:g} days": partial(Popularity, PopularityConfig(half_life_days=each)) for each in days
    })  # fmt: skip


def _item_knn() -> Recipe:
    return Recipe(candidates={
        f"{each} neighbours": partial(ItemKnn, ItemKnnConfig(neighbours=each)) for each in (20, 100, 500, 2000)
    })  # fmt: skip


def _ease() -> Recipe:
    weights = (10.0, 50.0, 200.0, 800.0, 3200.0)
    return Recipe(candidates={f"l2 {each:g}": partial(Ease, EaseConfig(l2=each)) for each in weights})


def _multi_vae() -> Recipe:
    return Recipe(drawn=True, candidates={
        f"most beta {each:g}": partial(MultiVae, MultiVaeConfig(most_beta=each)) for each in (0.2, 1.0)
    })  # fmt: skip


def _sasrec() -> Recipe:
    return Recipe(drawn=True, candidates={
        f"dropout {each:g}": partial(SasRec, SasRecConfig(dropout=each)) for each in (0.2, 0.5)
    })  # fmt: skip


def _cllm4rec(config: Callable[[], Cllm4recConfig]) -> Recipe:
    """A language model at the size that two cores train in minutes; its epoch is chosen on validation inside."""
    return Recipe(drawn=True, candidates={"as it is": partial(_built, config)})


def _ours() -> Recipe:
    return Recipe(drawn=True, candidates={
        "order of time": partial(_built, cllm4rec_small), "mixed order": partial(_built, cllm4rec_small_mixed)
    })  # fmt: skip


def _built(config: Callable[[], Cllm4recConfig]) -> CLLM4Rec:
    return CLLM4Rec(config())


RECIPES: dict[str, Recipe] = {
    BASE: _popularity(), "recent-popularity": _recent_popularity(), "item-knn": _item_knn(), "ease": _ease(),
    "multi-vae": _multi_vae(), "sasrec": _sasrec(),
    OURS: _ours(),
    "cllm4rec-small-paper": _cllm4rec(cllm4rec_small_paper),
    "llm-unread-small": _cllm4rec(llm_unread_small),
    "llm-cf-small": _cllm4rec(llm_cf_small), "llm-fixord-small": _cllm4rec(llm_fixord_small),
    "llm-prerec-small": _cllm4rec(llm_prerec_small),
}  # fmt: skip

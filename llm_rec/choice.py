"""A recipe's candidate that is best on validation, and what it then finds of the test likes."""

from __future__ import annotations

import time
from dataclasses import dataclass

from llm_rec.baselines.early_stop import CHOSEN_BY
from llm_rec.held_out import HeldOutConfig, measure, measure_with_new
from llm_rec.interactions import Catalogue
from llm_rec.ranking_metrics import UserMetrics
from llm_rec.recipes import Recipe
from llm_rec.splits import Split


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The chosen candidate, what every candidate reached on validation, and the test metrics of each seed."""

    chosen: str
    tried: dict[str, float]
    """Label -> mean NDCG@100 on validation with the first seed; empty where there is one candidate alone."""
    per_seed: list[UserMetrics]
    new_items: list[UserMetrics]
    """The same of finding those test likes alone whose items nobody in training liked; users with any."""
    seconds: float
    """Of the processor, for choosing, fitting and scoring."""


def choose_and_measure(
    recipe: Recipe, split: Split, catalogue: Catalogue, seeds: tuple[int, ...], config: HeldOutConfig
) -> Outcome:
    """Fits each candidate with the first seed, then the best one with every seed (one where none is drawn)."""
    began = time.process_time()
    tried = {} if len(recipe.candidates) == 1 else _tried(recipe, split, catalogue, seeds[0])
    chosen = max(tried, key=lambda label: tried[label]) if tried else next(iter(recipe.candidates))
    found = []
    for seed in seeds if recipe.drawn else seeds[:1]:
        recommender = recipe.candidates[chosen]()
        recommender.fit(split, catalogue, seed=seed)
        found.append(measure_with_new(recommender, split, "test", config))
    per_seed, new_items = ([each[part] for each in found] for part in (0, 1))
    return Outcome(
        chosen=chosen, tried=tried, per_seed=per_seed, new_items=new_items, seconds=time.process_time() - began
    )


def _tried(recipe: Recipe, split: Split, catalogue: Catalogue, seed: int) -> dict[str, float]:
    tried = {}
    for label, build in recipe.candidates.items():
        recommender = build()
        recommender.fit(split, catalogue, seed=seed)
        found = measure(recommender, split, "valid").values[CHOSEN_BY]
        tried[label] = float(found.mean()) if len(found) else 0.0
    return tried

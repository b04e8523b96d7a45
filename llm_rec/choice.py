"""A recipe's candidate that is best on validation, and what it then finds of the test likes."""

from __future__ import annotations

import time
from dataclasses import dataclass

from llm_rec.baselines.early_stop import CHOSEN_BY
from llm_rec.held_out import HeldOutConfig, measure, measure_with_new
from llm_rec.interactions import Catalogue
from llm_rec.ranking_metrics import UserMetrics
from llm_rec.recipes import Recipe
from llm_rec.recommender import Recommender
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
    """Fits each candidate with the first seed, then the best one with the other seeds (none where none is drawn)."""
    began = time.process_time()
    chosen, best, tried = _chosen(recipe, split, catalogue, seeds[0])
    found = [measure_with_new(best, split, "test", config)]
    for seed in seeds[1:] if recipe.drawn else ():
        recommender = recipe.candidates[chosen]()
        recommender.fit(split, catalogue, seed=seed)
        found.append(measure_with_new(recommender, split, "test", config))
    per_seed, new_items = ([each[part] for each in found] for part in (0, 1))
    return Outcome(
        chosen=chosen, tried=tried, per_seed=per_seed, new_items=new_items, seconds=time.process_time() - began
    )


def _chosen(recipe: Recipe, split: Split, catalogue: Catalogue, seed: int) -> tuple[str, Recommender, dict[str, float]]:
    """(label, the fitted one, what each candidate reached): the best on validation; one alone is not asked."""
    tried: dict[str, float] = {}
    kept: tuple[str, Recommender] | None = None
    for label, build in recipe.candidates.items():
        recommender = build()
        recommender.fit(split, catalogue, seed=seed)
        if len(recipe.candidates) == 1:
            return label, recommender, {}
        found = measure(recommender, split, "valid").values[CHOSEN_BY]
        tried[label] = float(found.mean()) if len(found) else 0.0
        if kept is None or tried[label] > tried[kept[0]]:
            kept = label, recommender
    assert kept is not None, "a recipe has a candidate"
    return *kept, tried

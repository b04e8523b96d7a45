"""How much the recommender should count in the arm `blend`: the weight w, chosen on validation, measured on test.

Both models learn the train part of MovieLens' file. For each user of a part the recommender puts its 100 first
films forward, and the gateway's own function ranks them by logit(p) + w (l - mean(l)): w = 0 is the click model
alone, inf the recommender alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import logit
from scipy.stats import rankdata, spearmanr

from bench.machine import describe
from bench.recommend import data_folder
from bench.two_opinions import Opinions, asked_of, fitted_recommender, opinions_of, trained_click_model
from llm_rec.baselines.early_stop import CHOSEN_BY
from llm_rec.comparison import Comparison, compare, render
from llm_rec.held_out import Part, histories
from llm_rec.ranking_metrics import UserMetrics, user_metrics
from llm_rec.sources import load
from llm_rec.splits import Split, time_split
from serving.gateway.blend import BlendConfig, blended
from streams.command import say
from streams.contract.columns import Array
from streams.datasets.registry import dataset_schema

WEIGHTS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, float("inf"))
BASE = "0"
PARTS: tuple[Part, ...] = ("valid", "test")
AUC = "auc"
_LEAST = 1e-7


def run(*, quick: bool = False) -> dict[str, Any]:
    """`parts`: for valid and test the figures of each weight and `paired` to w = 0; `chosen` on valid.

    Raises NotFoundError where the data are not there.
    """
    seeds = (0,) if quick else (0, 1, 2)
    before = torch.get_num_threads()
    # as many threads as cores wait for each other where other work runs
    torch.set_num_threads(1)
    try:
        split, opinions, temperatures = _opinions(seeds)
    finally:
        torch.set_num_threads(before)
    found = {part: _compared(opinions[part], split, part) for part in PARTS}
    rated = {part: _compared_on_rated(opinions[part]) for part in PARTS}
    return {
        **describe(len(seeds)), "seeds": list(seeds), "temperatures": temperatures,
        **_chosen(found["valid"].results, rated["valid"].results),
        "parts": {part: found[part].as_dict() for part in PARTS},
        "rated": {part: rated[part].as_dict() for part in PARTS},
        "opinions": {part: _facts(opinions[part], split) for part in PARTS},
    }  # fmt: skip


def _opinions(seeds: Sequence[int]) -> tuple[Split, dict[Part, list[list[Opinions]]], list[float]]:
    """(the split, part -> for each seed what both models say of each user's films, temperatures)."""
    folder = data_folder() / "movielens_1m"
    source, schema = load(f"movielens:{folder}"), dataset_schema(f"movielens:{folder}")
    assert schema is not None, "MovieLens has one"
    split = time_split(source)
    asked = {part: asked_of(folder, part, split) for part in PARTS}
    opinions: dict[Part, list[list[Opinions]]] = {part: [] for part in PARTS}
    temperatures = []
    for seed in seeds:
        recommender, temperature = fitted_recommender(split, source, seed)
        clicks = trained_click_model(folder, schema, seed)
        temperatures.append(temperature)
        for part in PARTS:
            opinions[part].append(opinions_of(
                recommender, temperature, clicks, asked[part], source, split, part, BlendConfig().num_retrieved
            ))  # fmt: skip
        say(f"seed {seed}: temperature {temperature:.2f}")
    return split, opinions, temperatures


def scores_of(weight: float, log_probabilities: Array, clicks: Array) -> Array:
    """Scores (N,) of the arm `blend` with that weight; inf: the recommender's alone."""
    alone = np.isinf(weight)
    config = BlendConfig(ctr_weight=0.0 if alone else 1.0, generative_weight=1.0 if alone else weight)
    return blended(config, log_probabilities, clicks)


def _compared(seeds: Sequence[Sequence[Opinions]], split: Split, part: Part) -> Comparison:
    """Finding the part's likes among all films: those that were not retrieved come last."""
    outcomes = {_label(weight): [_found(weight, each, split, part) for each in seeds] for weight in WEIGHTS}
    comparison = compare(outcomes, base=BASE, same_fits=True)
    say(f"\n{part}, {comparison.num_users} users:\n{render(comparison)}")
    return comparison


def _found(weight: float, opinions: Sequence[Opinions], split: Split, part: Part) -> UserMetrics:
    users = np.array([each.user for each in opinions], dtype=np.int64)
    scores = np.full((len(users), len(split.items)), -np.inf)
    for row, each in zip(scores, opinions, strict=True):
        row[each.films] = scores_of(weight, each.log_probabilities, each.clicks)
    wanted = split.valid if part == "valid" else split.test
    return user_metrics(users, scores, [wanted[user] for user in users], histories(split, part, users))


def _compared_on_rated(seeds: Sequence[Sequence[Opinions]]) -> Comparison:
    """Telling liked from other films among those that a user rated in the part; users with both."""
    outcomes = {_label(weight): [_ordered(weight, each) for each in seeds] for weight in WEIGHTS}
    comparison = compare(outcomes, base=BASE, metrics=(AUC,), same_fits=True)
    say(f"\nrated films, {comparison.num_users} users:\n{render(comparison)}")
    return comparison


def _ordered(weight: float, opinions: Sequence[Opinions]) -> UserMetrics:
    both = [each for each in opinions if 0 < each.liked.sum() < len(each.liked)]
    values = [
        area(scores_of(weight, each.rated_log_probabilities, each.rated_clicks), each.liked) for each in both
    ]  # fmt: skip
    return UserMetrics(np.array([each.user for each in both], dtype=np.int64), {AUC: np.array(values)})


def area(scores: Array, liked: Array) -> float:
    """AUC of one user: the share of pairs of a film liked (1) and one not (0), (N,) each, in order; ties half."""
    good = int(liked.sum())
    above = rankdata(scores)[liked == 1].sum() - good * (good + 1) / 2
    return float(above / (good * (len(liked) - good)))


def _chosen(found: Mapping[str, Any], rated: Mapping[str, Any]) -> dict[str, str]:
    """On validation: the weight that finds best, and the one that does so without telling rated films apart less well
    than the click model alone."""
    sound = [label for label in found if rated[label][AUC] >= rated[BASE][AUC]]
    return {"chosen": max(found, key=lambda label: found[label][CHOSEN_BY]),
            "chosen_without_loss": max(sound, key=lambda label: found[label][CHOSEN_BY])}  # fmt: skip


def _facts(seeds: Sequence[Sequence[Opinions]], split: Split) -> Mapping[str, float]:
    """Means over seeds and users: how far the opinions of the retrieved spread, and what goes with what."""
    likes = np.bincount(np.concatenate(split.train), minlength=len(split.items))
    rows = [_of_user(each, likes) for opinions in seeds for each in opinions]
    rated = [(each.rated_clicks, each.liked) for opinions in seeds for each in opinions]
    predicted, liked = (np.concatenate([pair[n] for pair in rated]) for n in (0, 1))
    return {
        **{name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]},
        "rated_mean_click_probability": float(predicted.mean()), "rated_mean_like": float(liked.mean()),
    }  # fmt: skip


def _of_user(each: Opinions, likes: Array) -> dict[str, float]:
    clicks = logit(np.clip(each.clicks.astype(np.float64), _LEAST, 1 - _LEAST))
    popularity = likes[each.films]
    return {
        "spread_of_click_logits": float(clicks.std()),
        "spread_of_log_probabilities": float(each.log_probabilities.std()),
        "clicks_with_recommender": float(spearmanr(clicks, each.log_probabilities).statistic),
        "clicks_with_train_likes": float(spearmanr(clicks, popularity).statistic),
        "recommender_with_train_likes": float(spearmanr(each.log_probabilities, popularity).statistic),
    }


def _label(weight: float) -> str:
    return f"{weight:g}"

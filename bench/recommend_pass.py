"""One pass of the served recommender in this process, and what of it each part takes: no HTTP, no Triton, no Redis.

pass        requests' bytes in, answers out, as Triton's Python backend calls it
forward     prompts and the language model, up to the states
ranking     states times the item table, seen items out, the best k
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from bench.load import quantile
from bench.machine import describe
from llm_rec.backbone import BackboneConfig, load_backbone
from llm_rec.cllm4rec_recipes import cllm4rec, cllm4rec_small
from llm_rec.config import Cllm4recConfig
from llm_rec.history_path import HistoryPath
from llm_rec.models import build_models
from llm_rec.packed import pack_programs
from serving.recommender.catalogue import Catalogue
from serving.recommender.config import MAX_USERS, RecommenderConfig
from serving.recommender.language_model import load_language_model
from serving.recommender.ranking import best
from serving.recommender.recommender import Recommender
from serving.recommender.served_generation import ServedRecommender
from serving.recommender.warm_up import warm_up
from serving.scorer.store_link import StoreLink
from streams.command import say
from streams.contract.columns import Array
from streams.contract.manifest import Generation, Manifest
from streams.contract.recommend_wire import RECOMMENDER, RecommendAnswer, RecommendRequest, pack_recommend
from streams.contract.recommender import Item, recommender_schema
from streams.contract.schema import schema_to_json

_NOWHERE = "redis://127.0.0.1:1"
"""Nobody asks it: the way to a store is closed until a watcher opens it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PassConfig:
    """What is measured, and how often."""

    rounds: int = 5
    repeats: int = 20
    """Passes a round."""
    batches: tuple[int, ...] = (1, 8, 32)
    """Users a pass."""
    likes: int = 20
    k: int = 10


def run(*, quick: bool = False) -> dict[str, Any]:
    """`passes`: for each model and catalogue, the median over rounds of each part's p50 in ms, by users a pass."""
    config = PassConfig(rounds=2, repeats=3, batches=(1, 4)) if quick else PassConfig()
    found = [
        {"backbone": recipe.backbone.kind, "num_items": num_items, **times}
        for recipe, num_items in subjects(quick=quick)
        for times in pass_times(recipe, num_items, config)
    ]
    return {**describe(config.rounds), "likes": config.likes, "k": config.k, "passes": found}


def subjects(*, quick: bool) -> list[tuple[Cllm4recConfig, int]]:
    """Recipe and number of items of each recommender that is measured."""
    small = cllm4rec_small()
    if quick:
        return [(replace(small, backbone=replace(small.backbone, width=32, layers=1, heads=2)), 1_000)]
    gpt2 = replace(small, name="gpt2-small-shape", backbone=BackboneConfig(kind="gpt2-small-shape", trainable=True))
    return [(small, 100_000), (gpt2, 100_000), (cllm4rec(), 4_000), (cllm4rec(), 100_000)]


def pass_times(recipe: Cllm4recConfig, num_items: int, config: PassConfig) -> list[dict[str, Any]]:
    """One entry a batch size: `users`, and `pass_ms`, `forward_ms`, `ranking_ms`, `processor_ms` of a pass, and every
    round's `pass_rounds`."""
    torch.set_num_threads(1)
    served = random_generation(recipe, num_items)
    recommender = Recommender(
        RecommenderConfig(log="none", redis=_NOWHERE, max_states=0, state_seconds=0), StoreLink(_NOWHERE, RECOMMENDER)
    )
    recommender.activate(served)
    found = []
    for users in config.batches:
        found.append({"users": users, **_times(recommender, served, users, config)})
        say(f"{recipe.backbone.kind}, {num_items} items: {found[-1]}")
    return found


def random_generation(recipe: Cllm4recConfig, num_items: int) -> ServedRecommender:
    """A served recommender of random weights: how long it takes depends on shapes alone, not on what was learnt."""
    backbone = load_backbone(recipe.backbone)
    models = build_models(backbone, 0, 0, id_std=recipe.id_std, seed=0, device="cpu", bfloat16=False)
    if recipe.fusion is not None:
        sides = (torch.randn(num_items, recipe.fusion.rank) for _ in range(2))
        models.path = HistoryPath(*sides, weight=0.01)
    programs = pack_programs(recipe, models, [Item(f"i{number}") for number in range(num_items)])
    language_model, items = load_language_model(programs, max_users=MAX_USERS, device="cpu")
    schema = recommender_schema(language_model.width)
    generation = Generation(
        model=RECOMMENDER, generation=1, first_version=1, feature_hash=schema.hash, schema=schema_to_json(schema),
        tables=schema.tables, network={},
    )  # fmt: skip
    head = Manifest(model=RECOMMENDER, version=1, parent=0, generation=1, feature_hash=schema.hash)
    served = ServedRecommender(generation, head, language_model, Catalogue(items),
                               RecommenderConfig(log="none", redis=_NOWHERE, max_hot_rows=1024))  # fmt: skip
    rows = np.random.default_rng(0).normal(size=(num_items, language_model.width + 1)).astype(np.float32) * 0.02
    language_model.put_items(np.arange(num_items, dtype=np.int64), rows)
    warm_up(served, (1, 20))
    return served


def _times(recommender: Recommender, served: ServedRecommender, users: int, config: PassConfig) -> dict[str, Any]:
    rng = np.random.default_rng(users)
    parts: dict[str, list[float]] = {"pass": [], "forward": [], "ranking": [], "processor": []}
    for _ in range(config.rounds):
        likes = rng.integers(0, len(served.catalogue), size=(config.repeats, users, config.likes))
        for name, each in zip(parts, _round(recommender, served, likes, config), strict=True):
            parts[name].append(quantile(each, 0.5))
    medians = {f"{name}_ms": round(float(np.median(rounds)), 3) for name, rounds in parts.items()}
    return {**medians, "pass_rounds": [round(each, 3) for each in parts["pass"]]}


def _round(
    recommender: Recommender, served: ServedRecommender, likes: Array, config: PassConfig
) -> tuple[list[float], list[float], list[float], list[float]]:
    """Times in ms of pass, forward, ranking, and processor time of the pass, for likes (repeats, users, H); every pass
    has histories of its own."""
    passes, forwards, rankings, processor = [], [], [], []
    language_model, num_items = served.language_model, len(served.catalogue)
    nobody, keys = [None] * likes.shape[1], np.zeros(likes.shape[1], dtype=np.int64)
    for histories in likes:
        requests = _requests(histories, config.k)
        began, began_processor = time.perf_counter(), time.process_time()
        answers = recommender.score(requests)
        passes.append(_milliseconds_since(began))
        processor.append(1000 * (time.process_time() - began_processor))
        assert all(isinstance(answer, RecommendAnswer) and answer.items for answer in answers)
        began = time.perf_counter()
        states = language_model.states(nobody, keys, list(histories))
        forwards.append(_milliseconds_since(began))
        began = time.perf_counter()
        best(language_model.logits(states, num_items), list(histories), config.k)
        rankings.append(_milliseconds_since(began))
    return passes, forwards, rankings, processor


def _requests(histories: Array, k: int) -> list[dict[str, Array]]:
    """Requests' tensors of different users whom nobody knows."""
    return [
        {"request": pack_recommend(RecommendRequest(unit_id=f"u{n}", k=k, history=[f"i{item}" for item in items]))}
        for n, items in enumerate(histories.tolist())
    ]


def _milliseconds_since(began: float) -> float:
    return 1000 * (time.perf_counter() - began)

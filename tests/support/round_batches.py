"""Toy batches in rounds of 40 seconds, and toy recipes that update as a named one does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from streams.contract.examples import ExampleBatch
from tests.support.toy_examples import START_MS, toy_batch, toy_recipe
from trainer.recipes import RecipeConfig, recipe, with_round_seconds, with_seed

REQUESTS_A_ROUND = 40
EXAMPLES_A_ROUND = 4 * REQUESTS_A_ROUND
BATCH_REQUESTS = 16


def round_batches(num_rounds: int, *, requests: int = BATCH_REQUESTS) -> Iterator[ExampleBatch]:
    """Batches of so many requests that do not end where rounds do; the first round is whole."""
    first = -(START_MS // 1000) % REQUESTS_A_ROUND
    total = first + num_rounds * REQUESTS_A_ROUND
    for start in range(first, total, requests):
        yield toy_batch(min(requests, total - start), start=start)


def toy_strategy(name: str, *, seed: int = 0, **changes: Any) -> RecipeConfig:
    """The toy recipe, learning from rounds or a teacher as the recipe of that name does."""
    named = recipe(name)
    toy = toy_recipe(name=name, update=named.update, teacher=named.teacher)
    return with_seed(replace(with_round_seconds(toy, REQUESTS_A_ROUND), **changes), seed)

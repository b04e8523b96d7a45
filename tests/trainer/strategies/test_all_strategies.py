"""What every update strategy promises: to look before it learns, to learn once, to follow from its seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from streams.contract.columns import Array
from streams.contract.examples import ExampleBatch
from streams.contract.features import FeatureBatch
from tests.support.round_batches import EXAMPLES_A_ROUND, round_batches, toy_strategy
from tests.support.toy_examples import toy_schema
from trainer.batch import RowBatch
from trainer.learner import Learner
from trainer.recipes import RecipeConfig, has_rounds, recipe, recipe_names
from trainer.subject import open_subject

KNOWS_THE_FUTURE = "hindsight-3"
STRATEGIES = [name for name in recipe_names() if has_rounds(recipe(name)) and name != KNOWS_THE_FUTURE]
STRATEGIES += ["incremental", *(f"{name}-3-live" for name in ("batch-window", "decay", "fgd"))]
STRATEGIES += ["fgd-3-linear-live", "fgd-3-eg-live", "spmf-1", "asmg-gru-1"]
ROUNDS = 7


def run(config: RecipeConfig, data: list[ExampleBatch]) -> list[Array]:
    with open_subject(toy_schema(), config) as subject:
        logits = [subject.take(batch).logit for batch in data]
        assert subject.progressive.lifetime.scores().examples == sum(map(len, data))
    return logits


def flipped(data: list[ExampleBatch], begin: int) -> list[ExampleBatch]:
    """All labels from batch `begin` on are the other way round."""
    return [replace(each, label=1 - each.label) if n >= begin else each for n, each in enumerate(data)]


def is_whole_rounds(config: RecipeConfig) -> bool:
    return config.update is not None and config.update.mode == "paper"


@pytest.fixture(scope="module")
def data() -> list[ExampleBatch]:
    return list(round_batches(ROUNDS))


def test_list_holds_every_listed_recipe_with_rounds_but_the_one_that_says_it_knows() -> None:
    assert {"reloop", "incctr", "spmf-3", "asmg-linear-3", "asmg-gru-3", "fgd-3-linear"} <= set(STRATEGIES)
    assert KNOWS_THE_FUTURE in recipe_names()


@pytest.mark.parametrize("name", STRATEGIES)
def test_labels_change_no_prediction_before_they_are_scored(name: str, data: list[ExampleBatch]) -> None:
    config = toy_strategy(name)
    begin = next(n for n, place in enumerate(np.cumsum([len(each) for each in data])) if place > 5.3 * EXAMPLES_A_ROUND)
    expected, got = run(config, data), run(config, flipped(data, begin))
    untouched = int(np.cumsum([len(each) for each in data])[begin])
    if is_whole_rounds(config):
        untouched = -(-untouched // EXAMPLES_A_ROUND) * EXAMPLES_A_ROUND
    np.testing.assert_array_equal(np.concatenate(got)[:untouched], np.concatenate(expected)[:untouched])
    assert not np.array_equal(np.concatenate(got)[untouched:], np.concatenate(expected)[untouched:])


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_example_is_learnt_as_new_once_a_lineage(
    name: str, data: list[ExampleBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: dict[int, Counter[tuple[str, int]]] = {}
    account = Learner._account

    def counted(
        learner: Learner, examples: ExampleBatch, features: FeatureBatch, batch: RowBatch, newest_ms: int
    ) -> None:
        learnt.setdefault(id(learner), Counter()).update(_keys(examples))
        account(learner, examples, features, batch, newest_ms)

    monkeypatch.setattr(Learner, "_account", counted)
    config = toy_strategy(name)
    run(config, data)
    assert {count for counter in learnt.values() for count in counter.values()} == {1}
    ended = ROUNDS - 1 if is_whole_rounds(config) else ROUNDS
    assert len(set().union(*learnt.values())) == ended * EXAMPLES_A_ROUND


@pytest.mark.parametrize("name", STRATEGIES)
def test_predictions_follow_from_the_seed(name: str, data: list[ExampleBatch]) -> None:
    once, again = (np.concatenate(run(toy_strategy(name, seed=3), data)) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, np.concatenate(run(toy_strategy(name, seed=4), data)))


def _keys(examples: ExampleBatch) -> Iterator[tuple[str, int]]:
    for request, position in zip(examples.request_index.tolist(), examples.position.tolist(), strict=True):
        yield examples.impression_id[request], position

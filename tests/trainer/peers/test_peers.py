"""What holds for every peer: it learns, predicts before it learns, and is driven as Freshet's own recipes are."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.examples import ExampleBatch
from streams.contract.schema import Schema
from tests.support.counted import counted_schema, random_batches
from tests.support.toy_examples import toy_batch, toy_schema
from trainer.counting import learnt_schema
from trainer.delayed.simulation import DelayedLabels
from trainer.evaluate import evaluate
from trainer.peers.lightgbm_refit import LightGbmConfig
from trainer.peers.named import COUNTERS_SUFFIX, peer_names
from trainer.peers.subject import PeerSubject
from trainer.peers.torchrec_dlrm import TorchRecConfig
from trainer.recipes import RecipeConfig, check_trainable, recipe, recipe_to_state, with_seed
from trainer.subject import open_subject

RAW = [name for name in peer_names() if not name.endswith(COUNTERS_SUFFIX)]
DRAWING = {"river-ffm", "torchrec"}
"""Peers that draw their first values."""
NUM_BATCHES = {"torchrec": 60}
"""A learner of batches of so few examples needs more of them."""
PACKAGES = {"vw-ftrl": "vowpalwabbit", "vw-coin": "vowpalwabbit", "river-lr": "river", "river-ffm": "river",
            "lightgbm": "lightgbm"}  # fmt: skip


def small(name: str) -> RecipeConfig:
    """The peer at a size for tests: a fit every 80 examples or more, tables of 1,000 rows."""
    named = recipe(name)
    if isinstance(named.peer, LightGbmConfig):
        return replace(
            named, peer=replace(named.peer, first_fit=80, refit_every=320, min_leaf_examples=5, num_trees=20)
        )
    if isinstance(named.peer, TorchRecConfig):
        return replace(named, peer=replace(named.peer, rows=1000, bottom=(16,), top=(16,)))
    return named


@contextmanager
def opened(name: str, *, seed: int = 0, schema: Schema | None = None) -> Iterator[PeerSubject]:
    with open_subject(schema or toy_schema(), with_seed(small(name), seed)) as subject:
        assert isinstance(subject, PeerSubject)
        yield subject


def logits(name: str, batches: Sequence[ExampleBatch], *, seed: int = 0, schema: Schema | None = None) -> list[Array]:
    with opened(name, seed=seed, schema=schema) as subject:
        return [subject.take(batch).logit for batch in batches]


def stream(number: int) -> list[ExampleBatch]:
    return [toy_batch(20, start=20 * n) for n in range(number)]


def flipped(batch: ExampleBatch, start: int = 0) -> ExampleBatch:
    """The batch with every label from the example at `start` on turned around."""
    label = batch.label.copy()
    label[start:] = 1 - label[start:]
    return replace(batch, label=label)


def separable(number: int) -> list[ExampleBatch]:
    """Ten ads, of which five are clicked nine times in ten and the others once."""
    batches = []
    for n in range(number):
        rng, batch = np.random.default_rng(n), toy_batch(20, start=20 * n)
        ad = rng.integers(0, 10, len(batch))
        label = (rng.random(len(batch)) < np.where(ad < 5, 0.1, 0.9)).astype(np.float32)
        batches.append(replace(batch, label=label, candidate={**batch.candidate, "ad": ad}))
    return batches


@pytest.mark.parametrize("name", RAW)
def test_peer_learns_what_can_be_learnt(name: str) -> None:
    with opened(name) as subject:
        scored = [subject.take(batch) for batch in separable(NUM_BATCHES.get(name, 15))]
        scores = subject.progressive.lifetime.scores()
    assert scores.examples == 80 * len(scored)
    late = np.concatenate([each.loss for each in scored[len(scored) // 2 :]])
    assert late.mean() < 0.85 * scores.base_rate_log_loss


@pytest.mark.parametrize("name", RAW)
def test_labels_of_a_request_and_of_later_ones_do_not_change_its_predictions(name: str) -> None:
    known, told, after = stream(3), toy_batch(20, start=60), toy_batch(20, start=80)
    turned = flipped(told, start=40)
    as_it_was, as_turned = (logits(name, [*known, last, after]) for last in (told, turned))
    assert np.array_equal(as_it_was[-2][:44], as_turned[-2][:44])
    assert not np.array_equal(as_it_was[-1], as_turned[-1])


@pytest.mark.parametrize("name", RAW)
def test_labels_of_a_batch_of_one_request_do_not_change_its_predictions(name: str) -> None:
    known, told = stream(3), toy_batch(1, start=60)
    assert np.array_equal(logits(name, [*known, told])[-1], logits(name, [*known, flipped(told)])[-1])


@pytest.mark.parametrize("name", ["lightgbm", "torchrec"])
def test_labels_of_a_batch_do_not_change_its_predictions_where_batches_are_learnt(name: str) -> None:
    known, told = stream(3), toy_batch(20, start=60)
    assert np.array_equal(logits(name, [*known, told])[-1], logits(name, [*known, flipped(told)])[-1])


@pytest.mark.parametrize("name", RAW)
def test_the_same_seed_gives_the_same_predictions_and_another_one_others_where_any_are_drawn(name: str) -> None:
    first, again, other = (np.concatenate(logits(name, stream(3), seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.array_equal(first, other) == (name not in DRAWING)


@pytest.mark.parametrize("name", RAW)
def test_ids_never_seen_before_are_predicted_near_the_rate_of_everything(name: str) -> None:
    new = toy_batch(5, start=300)
    new = replace(new, candidate={**new.candidate, "ad": np.arange(20) + 10**9})
    (*_, predicted) = logits(name, [*stream(10), new])
    assert np.isfinite(predicted).all()
    assert 0.02 < (1 / (1 + np.exp(-predicted))).mean() < 0.4


@pytest.mark.parametrize("name", RAW)
def test_counters_change_what_is_predicted_and_the_plain_name_leaves_them_out(name: str) -> None:
    batches, schema = random_batches(12, seed=3), counted_schema()
    plain, left_out = logits(name, batches), logits(name, batches, schema=schema)
    counted = logits(f"{name}{COUNTERS_SUFFIX}", batches, schema=schema)
    assert all(map(np.array_equal, plain, left_out))
    assert not np.array_equal(np.concatenate(plain), np.concatenate(counted))


@pytest.mark.parametrize("name", RAW)
def test_counters_without_a_schema_that_has_some_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"use {name}, or a schema"), opened(f"{name}{COUNTERS_SUFFIX}"):
        pass


@pytest.mark.parametrize(("name", "package"), PACKAGES.items())
def test_absent_package_is_refused_with_the_command_that_installs_it(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [m for m in sys.modules if m == package or m.startswith(f"{package}.")]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r"pip install --no-deps -r requirements/bench\.lock") as raised, opened(name):
        pass
    assert raised.value.value == package


@pytest.mark.parametrize("name", peer_names())
def test_peer_is_not_trained_and_its_settings_are_part_of_the_report(name: str) -> None:
    with pytest.raises(InputError, match="freshet evaluate"):
        check_trainable(recipe(name))
    state = recipe_to_state(with_seed(recipe(name), 7))
    assert state["peer"]["seed"] == 7
    assert state["use_counters"] == name.endswith(COUNTERS_SUFFIX)
    assert len(state["peer"]) > 3


def test_peer_with_delayed_labels_is_refused() -> None:
    with pytest.raises(InputError, match="leave out --labels delayed"):
        evaluate(list, toy_schema(), [small("vw-ftrl")], labels=DelayedLabels())


def test_peer_on_a_gpu_is_refused() -> None:
    with pytest.raises(InputError, match="on the CPU"), open_subject(toy_schema(), small("torchrec"), device="cuda"):
        pass


def test_peer_cannot_go_with_what_changes_freshets_own_learning() -> None:
    with pytest.raises(InputError, match="its own way"):
        replace(recipe("calibrated"), peer=recipe("vw-ftrl").peer)


def test_schema_without_numbers_is_learnt_by_the_dlrm_of_torchrec() -> None:
    schema = toy_schema()
    features = tuple(feature for feature in schema.features if feature.kind != "dense")
    without = learnt_schema(Schema(name="toy", features=features, crosses=schema.crosses), small("torchrec"))
    assert np.isfinite(np.concatenate(logits("torchrec", stream(2), schema=without))).all()

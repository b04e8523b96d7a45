"""The Gram form against autograd, its halves against noise, and gradients against the model's own step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from streams.contract.columns import Array
from streams.contract.examples import ExampleBatch
from tests.support.toy_examples import toy_batch, toy_recipe, toy_schema
from trainer.admission import AdmissionConfig
from trainer.future.gradients import gram_at
from trainer.future.gram import Gram, best_on_simplex, gram_of, mean_gram, relative
from trainer.future.theta import remember
from trainer.future.window import mixed
from trainer.learner import Learner
from trainer.prepare import Learnable, Preparer
from trainer.vocabulary import VocabularyConfig


def vectors(num: int, size: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(num, size)).astype(np.float32)


def test_gram_form_has_the_loss_and_the_gradient_of_autograd() -> None:
    whole = vectors(4, 50)
    gram = gram_of(np.stack([whole, whole], axis=1))
    weights = torch.tensor([0.5, -0.2, 1.1], dtype=torch.float64, requires_grad=True)
    exact = torch.from_numpy(whole.astype(np.float64))
    loss = (weights @ exact[:3] - exact[3]).square().sum()
    (gradient,) = torch.autograd.grad(loss, weights)
    own = weights.detach().numpy()
    assert gram.loss(own) == pytest.approx(loss.item(), rel=1e-10)
    np.testing.assert_allclose(gram.gradient(own), gradient.numpy(), rtol=1e-10)


def test_diagonal_of_noisy_halves_is_unbiased_where_the_plain_one_is_not() -> None:
    rng, exact = np.random.default_rng(1), vectors(3, 20)
    halves = [exact[:, None] + 2 * rng.normal(size=(3, 2, 20)).astype(np.float32) for _ in range(4000)]
    estimate = mean_gram([gram_of(each) for each in halves])
    np.testing.assert_allclose(np.diag(estimate.among), np.einsum("ip,ip->i", exact, exact)[:2], atol=1.0)
    assert estimate.target == pytest.approx(float(exact[2] @ exact[2]), abs=1.0)
    plain = np.mean([np.square(each.mean(axis=1)).sum(axis=1) for each in halves])
    assert plain > np.square(exact).sum(axis=1).mean() + 30


def test_relative_products_are_bounded_and_proportional() -> None:
    gram = gram_of(vectors(8, 30).reshape(4, 2, 30) * 1e-4)
    (scaled,) = relative([gram])
    assert scaled.size == pytest.approx(1.0)
    np.testing.assert_allclose(scaled.among / scaled.target, gram.among / gram.target, rtol=1e-9)


def test_indefinite_products_become_definite_and_definite_ones_stay() -> None:
    gram = Gram(np.array([[1.0, 2.0], [2.0, 1.0]]), np.ones(2), 1.0, 1.0)
    assert np.linalg.eigvalsh(gram.definite().among).min() >= -1e-12
    good = gram_of(np.repeat(vectors(4, 30)[:, None], 2, axis=1))
    np.testing.assert_allclose(good.definite().among, good.among, rtol=1e-6)


def test_best_weights_in_hindsight_are_those_the_target_was_made_of() -> None:
    rounds, truth = vectors(3, 40), np.array([0.2, 0.0, 0.8], dtype=np.float32)
    whole = np.concatenate([rounds, truth[None] @ rounds])
    np.testing.assert_allclose(best_on_simplex([gram_of(np.stack([whole, whole], axis=1))]), truth, atol=1e-4)


def descending(**changes: object) -> Learner:
    """A learner whose steps are its gradients, with a row for every id of the first 64 requests."""
    base = toy_recipe()
    tables = replace(base.tables, optimizer="sgd", learning_rate=1.0, capacity=1000)
    every_id = VocabularyConfig(admission=AdmissionConfig(admit_after=1))
    learner = Learner(toy_schema(), replace(base, tables=tables, vocabulary=every_id, **changes))  # type: ignore[arg-type]
    prepare = Preparer(learner.schema)
    for start in range(0, 64, 8):
        learner.learn(prepare(toy_batch(8, start=start)))
    learner.optimizer = torch.optim.SGD(learner.network.parameters(), lr=1.0)
    return learner


def _step(learner: Learner, examples: ExampleBatch, share: Array) -> dict[str, Array]:
    """What one step subtracts from each tensor; the learner is put back."""
    before = remember(learner)
    learner.learn_shares(Preparer(learner.schema)(examples), share.astype(np.float32))
    after = remember(learner)
    with torch.no_grad():
        for name, parameter in learner.network.named_parameters():
            parameter.copy_(before.network[name])
    for name, rows in before.rows.items():
        learner.tables.write_rows(name, np.arange(len(rows)), rows)
    steps = {name: rows - after.rows[name][: len(rows)] for name, rows in before.rows.items()}
    return steps | {n: (value - after.network[n]).numpy() for n, value in before.network.items()}


def test_step_on_the_mixed_batch_is_the_mix_of_the_rounds_mean_gradients() -> None:
    learner, weights = descending(), np.array([0.7, -0.3, 0.6])
    chunks = [toy_batch(8, start=start).slice(0, size) for size, start in ((32, 0), (11, 16), (20, 40))]
    each = [_step(learner, chunk, np.full(len(chunk), 1 / len(chunk))) for chunk in chunks]
    together = _step(learner, *mixed(chunks, weights))
    for name, step in together.items():
        due = sum(weight * one[name] for weight, one in zip(weights, each, strict=True))
        np.testing.assert_allclose(step, due, rtol=1e-5, atol=2e-7 * np.abs(due).max() + 1e-7, err_msg=name)


def _halves(prepare: Preparer, start: int) -> tuple[Learnable, Learnable]:
    return prepare(toy_batch(8, start=start)), prepare(toy_batch(8, start=start + 8))


def test_gradients_at_theta_are_what_a_step_of_plain_descent_subtracts() -> None:
    learner = descending(batch_size=32)
    prepare = Preparer(learner.schema)
    whole = prepare(toy_batch(8))
    before = remember(learner)
    own = gram_at(learner, None, [(whole, whole), (whole, whole)])
    learner.learn(whole)
    after = remember(learner)
    step = sum(float(np.square(after.rows[n][: len(rows)] - rows).sum()) for n, rows in before.rows.items())
    step += sum(float((after.network[n] - value).square().sum()) for n, value in before.network.items())
    assert own.target == pytest.approx(step, rel=1e-4)
    assert own.with_target[0] == pytest.approx(own.target, rel=1e-6)


def test_remembered_theta_gives_the_products_it_had_whatever_was_learnt_since() -> None:
    learner = Learner(toy_schema(), toy_recipe())
    prepare = Preparer(learner.schema)
    for start in range(0, 64, 16):
        learner.learn(prepare(toy_batch(16, start=start)))
    rounds = [_halves(prepare, start) for start in (0, 16, 32)]
    now, theta = gram_at(learner, None, rounds), remember(learner)
    base = learner.counters.examples
    learner.tables.write_rows("ad", np.arange(5), np.ones((5, 8), dtype=np.float32))
    with torch.no_grad():
        for parameter in learner.network.parameters():
            parameter.add_(0.1)
    then = gram_at(learner, theta, rounds)
    np.testing.assert_array_equal(then.among, now.among)
    assert gram_at(learner, None, rounds).target != now.target
    assert learner.counters.examples == base

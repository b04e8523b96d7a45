"""What every mixer promises, whoever says the weights."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from streams.contract.errors import FormatError, InputError
from tests.support.toy_examples import toy_batch, toy_schema
from trainer.future.build import build_mixer, num_dense
from trainer.future.config import GeneratorConfig, UpdateConfig, Weighing
from trainer.future.gram import Floats, Gram, gram_of, relative
from trainer.future.mixers import Mixer
from trainer.future.summary import Summary, empty_summary
from trainer.prepare import Preparer

WEIGHINGS: tuple[Weighing, ...] = get_args(Weighing)
LEARNT: tuple[Weighing, ...] = ("attention", "linear", "eg")
B = 3


def config(weighing: Weighing) -> UpdateConfig:
    return UpdateConfig(weighing=weighing, num_rounds=B, fixed=(0.2, 0.3, 0.5), generator=GeneratorConfig(buckets=64))


def mixer_of(weighing: Weighing, seed: int = 4) -> Mixer:
    return build_mixer(config(weighing), toy_schema(), seed)


def summary_of(t: int) -> Summary:
    summary = empty_summary(64, num_dense(toy_schema()))
    summary.add(Preparer(toy_schema())(toy_batch(8, start=8 * t, seed=t % B)))
    return summary


def gram_like(target: int, seed: int) -> Gram:
    """A target that is one of the rounds."""
    rounds = np.random.default_rng(seed).normal(size=(B, 40)).astype(np.float32)
    whole = np.concatenate([rounds, rounds[target : target + 1]])
    return relative([gram_of(np.stack([whole, whole], axis=1))])[0]


def run(mixer: Mixer, rounds: range, *, target: int = 2) -> list[Floats]:
    """The weights before each round."""
    weights = []
    for t in rounds:
        weights.append(mixer.weights(t))
        mixer.observe(t, summary_of(t))
        mixer.learn(t, [gram_like(target, t)])
    return weights


@pytest.mark.parametrize("weighing", WEIGHINGS)
def test_weights_are_one_a_round_finite_and_add_up_to_one(weighing: Weighing) -> None:
    for weights in run(mixer_of(weighing), range(10)):
        assert weights.shape == (B,)
        assert np.isfinite(weights).all()
        assert weights.sum() == pytest.approx(1.0, abs=1e-5)
        assert weighing == "linear" or weights.min() >= 0


@pytest.mark.parametrize("weighing", WEIGHINGS)
def test_asking_for_weights_changes_nothing(weighing: Weighing) -> None:
    mixer = mixer_of(weighing)
    run(mixer, range(4))
    np.testing.assert_array_equal(mixer.weights(4), mixer.weights(4))


@pytest.mark.parametrize("weighing", WEIGHINGS)
def test_mixer_goes_on_from_its_state_as_one_that_never_stopped(weighing: Weighing) -> None:
    whole, first, second = mixer_of(weighing), mixer_of(weighing), mixer_of(weighing)
    expected = run(whole, range(12))[6:]
    run(first, range(6))
    second.load_state(first.state())
    for got, due in zip(run(second, range(6, 12)), expected, strict=True):
        np.testing.assert_array_equal(got, due)


@pytest.mark.parametrize("weighing", LEARNT)
def test_learnt_weights_begin_uniform_and_move_to_the_round_that_foretells(weighing: Weighing) -> None:
    weights = run(mixer_of(weighing), range(60), target=2)
    np.testing.assert_allclose(weights[0], 1 / B, atol=1e-6)
    assert weights[-1][2] > 0.6
    assert weights[-1][2] > 3 * max(weights[-1][0], weights[-1][1])


def test_weights_without_softmax_carry_a_trend_on_and_those_with_it_cannot() -> None:
    rounds = np.random.default_rng(0).normal(size=(2, 40)).astype(np.float32)
    newest, older = rounds
    whole = np.stack([newest, older, older, 2 * newest - older])
    (gram,) = relative([gram_of(np.stack([whole, whole], axis=1))])
    losses = {}
    for weighing in ("attention", "linear"):
        mixer = mixer_of(weighing)
        for t in range(100):
            mixer.observe(t, summary_of(t))
            mixer.learn(t, [gram])
        losses[weighing] = gram.loss(mixer.weights(100)) / gram.target
    assert losses["linear"] < 0.1 < losses["attention"]


def test_random_weights_follow_from_seed_and_round() -> None:
    a, b = mixer_of("random", seed=1), mixer_of("random", seed=2)
    np.testing.assert_array_equal(a.weights(7), mixer_of("random", seed=1).weights(7))
    assert not np.array_equal(a.weights(7), a.weights(8))
    assert not np.array_equal(a.weights(7), b.weights(7))


def test_generator_of_another_shape_is_refused() -> None:
    other = build_mixer(UpdateConfig(weighing="attention", num_rounds=2), toy_schema(), 0)
    with pytest.raises(FormatError, match="another shape"):
        mixer_of("attention").load_state(other.state())


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"num_rounds": 0}, "num_rounds"), ({"round_seconds": 0.5}, "round_seconds"), ({"weighing": "fixed"}, "fixed")],
)
def test_impossible_settings_are_refused_by_name(fields: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        UpdateConfig(**fields)  # type: ignore[arg-type]

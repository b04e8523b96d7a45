"""Four drifts whose answers are known: r_t = |theta - c_t|^2 / 2, so that a mix of gradients is a mix of centres."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from trainer.future.exponentiated import ExponentiatedGradient, best_rate, regret_bound
from trainer.future.gram import Floats, best_on_simplex, gram_of
from trainer.future.mixers import Mixer, newest_only, uniform

DIM, ROUNDS, B = 8, 2000, 3


def period_three(rng: np.random.Generator) -> Floats:
    return np.resize(rng.normal(size=(3, DIM)), (ROUNDS, DIM))


def random_walk(rng: np.random.Generator) -> Floats:
    walk: Floats = np.cumsum(0.3 * rng.normal(size=(ROUNDS, DIM)), axis=0)
    return walk


def independent(rng: np.random.Generator) -> Floats:
    return rng.normal(size=(ROUNDS, DIM))


def alternating(rng: np.random.Generator) -> Floats:
    centres = rng.normal(size=(ROUNDS, DIM))
    for t in range(1, ROUNDS):
        centres[t] -= 0.8 * centres[t - 1]
    return centres


def played(mixer: Mixer, centres: Floats) -> tuple[float, Floats]:
    """Mean |grad r_t(theta_t)|^2 over the second half, theta_t solved exactly; the last weights."""
    squares = []
    for t in range(B, ROUNDS):
        theta = mixer.weights(t) @ centres[t - B : t][::-1]
        gradients = (theta - centres[[*range(t - 1, t - 1 - B, -1), t]]).astype(np.float32)
        squares.append(float(np.square(gradients[-1]).sum()))
        mixer.learn(t, [gram_of(np.stack([gradients, gradients], axis=1))])
    return float(np.mean(squares[ROUNDS // 2 :])), mixer.weights(ROUNDS)


Drift = Callable[[np.random.Generator], Floats]
TABLE: dict[Drift, tuple[float | None, float | None, float]] = {
    period_three: (None, None, 0.0),
    random_walk: (0.708, 1.102, 0.709),
    independent: (16.04, 10.61, 10.78),
    alternating: (79.2, 34.6, 13.4),
}
"""Newest only, batch window, exponentiated gradient; those of period 3 depend on the three points drawn."""


@pytest.mark.parametrize("drift", TABLE, ids=lambda drift: str(getattr(drift, "__name__", drift)))
def test_toy_drift_reproduces_the_table_and_stays_near_the_better_baseline(drift: Drift) -> None:
    centres = drift(np.random.default_rng(0))
    newest, window = (played(mixer, centres)[0] for mixer in (newest_only(B), uniform(B)))
    future, _ = played(ExponentiatedGradient(B, 0.02), centres)
    for got, told in zip((newest, window, future), TABLE[drift], strict=True):
        assert told is None or got == pytest.approx(told, rel=0.1, abs=1e-3)
    assert future <= 1.03 * min(newest, window) + 1e-6
    if drift in (period_three, alternating):
        assert future < 0.5 * min(newest, window)


def test_period_is_found_and_the_newest_of_a_walk() -> None:
    _, of_period = played(ExponentiatedGradient(B, 0.02), period_three(np.random.default_rng(1)))
    _, of_walk = played(ExponentiatedGradient(B, 0.02), random_walk(np.random.default_rng(1)))
    assert of_period[2] > 0.99
    assert of_walk[0] > 0.9


def test_regret_of_exponentiated_gradient_stays_within_its_bound() -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        gradients = rng.normal(size=(300, B + 1, 10)).astype(np.float32)
        longest = float(np.linalg.norm(gradients, axis=2).max())
        mixer = ExponentiatedGradient(B, best_rate(B, len(gradients), longest))
        grams = [gram_of(np.stack([each, each], axis=1)) for each in gradients]
        paid = 0.0
        for t, gram in enumerate(grams):
            paid += gram.loss(mixer.weights(t))
            mixer.learn(t, [gram])
        best = best_on_simplex(grams)
        bound = regret_bound(B, len(grams), longest, best_rate(B, len(grams), longest))
        assert paid - sum(gram.loss(best) for gram in grams) <= bound

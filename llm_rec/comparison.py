"""Recommenders side by side on the same users: means over seeds, and whether one is better than the base.

Intervals are bootstraps over users (Efron 1979), the same users drawn for every recommender: what is compared
is paired. Within each draw the seeds are drawn, too: the interval holds what the users and the first weights do.
S seeds, U users, R draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llm_rec.ranking_metrics import METRICS, UserMetrics
from streams.command import table
from streams.contract.errors import InputError

_Values = npt.NDArray[np.float64]
_DRAWS = 2000
_DRAWS_AT_ONCE = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """`results`: name -> metric, its stderr and ci95; `paired_with`: base -> name -> metric -> delta and its ci95."""

    base: str
    """The first of the bases: the one that is printed."""
    num_users: int
    results: dict[str, dict[str, Any]]
    paired_with: dict[str, dict[str, dict[str, Any]]]
    metrics: tuple[str, ...] = METRICS

    @property
    def paired(self) -> dict[str, dict[str, Any]]:
        """Name -> metric -> delta to `base` and its ci95."""
        return self.paired_with[self.base]

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {"base": self.base, "users": self.num_users, "results": self.results, "paired": self.paired}


def compare(
    outcomes: dict[str, list[UserMetrics]],
    *,
    base: str,
    further_bases: Sequence[str] = (),
    seed: int = 0,
    metrics: tuple[str, ...] = METRICS,
    same_fits: bool = False,
) -> Comparison:
    """Name -> one outcome a seed; all must have been measured on the same users. `seed` draws the bootstrap.

    Differences to every base are of the same draws, which do not depend on what the bases are.
    `same_fits`: what bears the same seed was fitted once for all names, so seeds are drawn for all together.

    Raises InputError where nobody has test likes: there is nothing to compare by.
    """
    users = outcomes[base][0].users
    if not len(users):
        raise InputError("no user has test likes", field="data", remedy="give more likes, or another split")
    assert all(np.array_equal(each.users, users) for of in outcomes.values() for each in of), "the same users"
    draws = _Draws(len(users), {name: len(of) for name, of in outcomes.items()}, seed, same_fits)
    results: dict[str, dict[str, Any]] = {name: {"seeds": len(of)} for name, of in outcomes.items()}
    paired_with: dict[str, dict[str, dict[str, Any]]] = {
        each: {name: {} for name in outcomes if name != each} for each in (base, *further_bases)
    }
    for metric in metrics:
        values = {name: np.stack([each.values[metric] for each in of]) for name, of in outcomes.items()}
        drawn = {name: draws.means(name, of) for name, of in values.items()}
        for name, of in values.items():
            results[name] |= _told(metric, float(of.mean()), drawn[name])
        for each, paired in paired_with.items():
            for name, told in paired.items():
                delta = results[name][metric] - results[each][metric]
                told[metric] = {"delta": delta, "ci95": _interval(drawn[name] - drawn[each])}
    return Comparison(base=base, num_users=len(users), results=results, paired_with=paired_with, metrics=metrics)


class _Draws:
    """How often each user is taken in each of R draws (R, U), and each seed of each recommender (R, S)."""

    def __init__(self, num_users: int, num_seeds: dict[str, int], seed: int, same_fits: bool) -> None:
        rng, each = np.random.default_rng(seed), np.full(num_users, 1 / num_users)
        # float32 holds these counts exactly, in half the memory
        parts = (rng.multinomial(num_users, each, size=_DRAWS_AT_ONCE) for _ in range(_DRAWS // _DRAWS_AT_ONCE))
        self._users = np.concatenate([part.astype(np.float32) for part in parts])
        self._seeds = {name: rng.multinomial(count, np.full(count, 1 / count), size=_DRAWS) / count
                       for name, count in num_seeds.items()}  # fmt: skip
        if same_fits:
            assert len(set(num_seeds.values())) == 1, "as many fits of each"
            self._seeds = dict.fromkeys(num_seeds, next(iter(self._seeds.values())))

    def means(self, name: str, values: _Values) -> _Values:
        """The mean (R,) of `values` (S, U) in each draw."""
        means: _Values = ((self._users @ values.T) * self._seeds[name]).sum(axis=1) / values.shape[1]
        return means


def _told(metric: str, mean: float, drawn: _Values) -> dict[str, Any]:
    return {metric: mean, f"{metric}_stderr": float(drawn.std()), f"{metric}_ci95": _interval(drawn)}


def _interval(drawn: _Values) -> list[float]:
    return [float(end) for end in np.percentile(drawn, [2.5, 97.5])]


def render(comparison: Comparison) -> str:
    """The table for a terminal: metric and standard error, and the gain over the base with its interval."""
    metrics = comparison.metrics
    heads = ("recommender", *(f"{metric} (stderr)" for metric in metrics), f"{metrics[-1]} - {comparison.base}")
    return table([heads, *(_row(comparison, name) for name in comparison.results)])


def _row(comparison: Comparison, name: str) -> tuple[str, ...]:
    found = comparison.results[name]
    cells = [f"{found[metric]:.4f} ({found[f'{metric}_stderr']:.4f})" for metric in comparison.metrics]
    if name == comparison.base:
        return (name, *cells, "base")
    gain = comparison.paired[name][comparison.metrics[-1]]
    low, high = gain["ci95"]
    return (name, *cells, f"{gain['delta']:+.4f} [{low:+.4f}, {high:+.4f}]")

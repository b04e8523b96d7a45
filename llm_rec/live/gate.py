"""Reasons not to publish a recommender's version. What fails any of them stays with the learner and is not served.

    feature_hash            learner and generation mean different tables
    non_finite              a row or a loss of the window is not a number
    row_norm                a row grew out of all proportion
    too_few_likes           a generation that has a version gets none that the newest likes say nothing of
    log_loss_worse          the last accepted version foretold the same likes better
    ranks_below_base        after warm-up, popularity alone ranked them higher

Losses and ranks are of likes before they were learnt. Popularity is compared by NDCG@100, which is what is served, the
accepted version by the finer log loss. A difference counts where it exceeds its tolerance by
`num_standard_errors` standard errors, so noise does not block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from llm_rec.live.progressive import LikesWindow
from streams.contract.columns import Array
from streams.contract.manifest import Generation
from streams.contract.recommender import HISTORIES
from streams.versions.delta import Delta
from streams.versions.verdict import Gate, GateResult, LiveView, Norms, Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class RecommenderGateConfig:
    """Bounds of the gate; `worse_tolerance` in nats a like, `base_tolerance` in NDCG@100."""

    min_likes: int = 32
    """Of the window, for a version that is not the first of its generation."""
    min_compared: int = 200
    """Likes of the window that the accepted version was asked of, for `log_loss_worse` to be judged at all."""
    warm_up_likes: int = 2000
    """Likes of the window before `ranks_below_base` is judged."""
    worse_tolerance: float = 0.05
    base_tolerance: float = 0.0
    num_standard_errors: float = 3.0
    norm_factor: float = 10.0
    """How many times the largest norm of the versions before a version's largest norm may be."""
    norm_floor: float = 1.0


def recommender_gate(window: Callable[[], LikesWindow], config: RecommenderGateConfig | None = None) -> Gate:
    """The gate within the given bounds; `window` gives the learner's newest likes."""
    return partial(_check, window=window, config=config or RecommenderGateConfig())


def _check(
    delta: Delta,
    live: LiveView | None,
    feature_hash: str,
    generation: Generation,
    *,
    window: Callable[[], LikesWindow],
    config: RecommenderGateConfig,
) -> GateResult:
    newest, norms = window(), _norms(delta)
    measured: dict[str, float] = {"likes": float(len(newest.loss))}
    reasons = [
        *_feature_hash(feature_hash, generation),
        *_finite(delta, newest),
        *_growth(config, norms, live),
        *_few(config, newest, live),
        *_against_accepted(config, newest, measured),
        *_against_base(config, newest, measured),
    ]
    return GateResult(reasons, norms, measured)


def _feature_hash(feature_hash: str, generation: Generation) -> Iterator[Reason]:
    if feature_hash != generation.feature_hash:
        message = (
            f"tables are as of {feature_hash}, generation {generation.generation} expects {generation.feature_hash}"
        )
        yield Reason("feature_hash", message, 1.0, 0.0)


def _finite(delta: Delta, newest: LikesWindow) -> Iterator[Reason]:
    for table, rows in delta.rows.items():
        bad = len(rows.ids) - int(np.isfinite(rows.values).all(axis=1).sum())
        if bad:
            yield Reason("non_finite", f"{bad} rows of table {table} are not finite", bad, 0.0)
    bad = len(newest.loss) - int(np.isfinite(newest.loss).sum())
    if bad:
        yield Reason("non_finite", f"{bad} losses of the window are not finite", bad, 0.0)


def _growth(config: RecommenderGateConfig, norms: Norms, live: LiveView | None) -> Iterator[Reason]:
    if live is None:
        return
    bound = config.norm_factor * max(live.norms.row, config.norm_floor)
    if norms.row > bound:
        message = f"is {norms.row:.3g} where {live.norms.row:.3g} was the largest of the versions before"
        yield Reason("row_norm", message, norms.row, bound)


def _few(config: RecommenderGateConfig, newest: LikesWindow, live: LiveView | None) -> Iterator[Reason]:
    if live is not None and len(newest.loss) < config.min_likes:
        message = f"the window holds {len(newest.loss)} likes"
        yield Reason("too_few_likes", message, len(newest.loss), config.min_likes)


def _against_accepted(
    config: RecommenderGateConfig, newest: LikesWindow, measured: dict[str, float]
) -> Iterator[Reason]:
    compared = np.isfinite(newest.accepted_loss) & np.isfinite(newest.loss)
    measured["compared_likes"] = float(compared.sum())
    if compared.sum() < config.min_compared:
        return
    differences = newest.loss[compared] - newest.accepted_loss[compared]
    measured["log_loss_over_accepted"] = float(differences.mean())
    bound = config.worse_tolerance + config.num_standard_errors * _standard_error(differences)
    if measured["log_loss_over_accepted"] > bound:
        message = f"the versions accepted before foretold the same {int(compared.sum())} likes better"
        yield Reason("log_loss_worse", message, measured["log_loss_over_accepted"], bound)


def _against_base(config: RecommenderGateConfig, newest: LikesWindow, measured: dict[str, float]) -> Iterator[Reason]:
    if not len(newest.ndcg):
        return
    differences = newest.base_ndcg - newest.ndcg
    measured["base_over_ndcg"] = float(differences.mean())
    bound = config.base_tolerance + config.num_standard_errors * _standard_error(differences)
    if len(newest.ndcg) >= config.warm_up_likes and measured["base_over_ndcg"] > bound:
        message = "popularity alone ranked the newest likes higher"
        yield Reason("ranks_below_base", message, measured["base_over_ndcg"], bound)


def _norms(delta: Delta) -> Norms:
    """Of embeddings; histories are numbers of items, and the last place of a row is none of the embedding's."""
    largest = [np.square(rows.values[:, :-1], dtype=np.float64).sum(axis=1).max(initial=0.0)
               for table, rows in delta.rows.items() if table != HISTORIES]  # fmt: skip
    return Norms(float(np.sqrt(max(largest, default=0.0))), 0.0)


def _standard_error(differences: Array) -> float:
    return float(differences.std() / np.sqrt(len(differences)))

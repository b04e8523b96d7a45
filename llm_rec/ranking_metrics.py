"""Recall@k and NDCG@k of rankings over the whole catalogue, a user each.

Recall@k is hits / min(k, |relevant|), NDCG@k the discounted gain over that of the best ranking of
min(k, |relevant|) items, with discount 1 / log2(rank + 1), ranks from 1 (Liang et al. 2018; Järvelin and
Kekäläinen 2002). B users, J items, P pairs of a user and a relevant item.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streams.contract.columns import Array
from streams.contract.errors import FreshetError
from streams.contract.values import Floats

RECALL_AT = (20, 40)
NDCG_AT = (100,)
METRICS = (*(f"recall_at_{k}" for k in RECALL_AT), *(f"ndcg_at_{k}" for k in NDCG_AT))
_MOST_COMPARED = 2**24


@dataclass(frozen=True, slots=True)
class UserMetrics:
    """Metric name -> value of each user (U,) in [0, 1]; `users` (U,) are those with something to be found."""

    users: Array
    values: dict[str, npt.NDArray[np.float64]]


def user_metrics(users: Array, scores: Floats, relevant: list[Array], seen: list[Array]) -> UserMetrics:
    """METRICS of users (B,), whose scores are (B, J), relevant and seen item numbers lists of B.

    Seen items are no candidates, and not relevant either. Users with nothing relevant are left out. Raises
    FreshetError where a score is not a number.
    """
    if np.isnan(scores).any():
        raise FreshetError("a score is not a number", field="scores", value=int(users[np.isnan(scores).any(1)][0]),
                           remedy="the model has diverged: lower its learning rate")  # fmt: skip
    is_seen = _marked(scores.shape, seen)
    wanted = _marked(scores.shape, relevant) & ~is_seen
    row, item = np.nonzero(wanted)
    rank = ranks(scores, is_seen, row, item)
    count = wanted.sum(axis=1)
    found = count > 0
    values = {f"recall_at_{k}": _recall(rank, row, count, k)[found] for k in RECALL_AT}
    values |= {f"ndcg_at_{k}": _ndcg(rank, row, count, k)[found] for k in NDCG_AT}
    return UserMetrics(users[found], values)


def ranks(scores: Floats, is_seen: npt.NDArray[np.bool_], row: Array, item: Array) -> Array:
    """How many items (P,) stand before each `item` in the ranking of each `row`; 0 is the top.

    An item with the same score and a smaller number stands before: the order is the same on every machine.
    """
    rank, number = np.empty(len(row), dtype=np.int64), np.arange(scores.shape[1])
    step = max(1, _MOST_COMPARED // scores.shape[1])
    for start in range(0, len(row), step):
        rows, items = row[start : start + step], item[start : start + step, None]
        theirs, own = scores[rows], scores[rows, items[:, 0]][:, None]
        before = (theirs > own) | ((theirs == own) & (number < items))
        rank[start : start + step] = (before & ~is_seen[rows]).sum(axis=1)
    return rank


def _marked(shape: tuple[int, ...], items: list[Array]) -> npt.NDArray[np.bool_]:
    marked = np.zeros(shape, dtype=np.bool_)
    lengths = [len(each) for each in items]
    marked[np.repeat(np.arange(shape[0]), lengths), np.concatenate([*items, np.zeros(0, dtype=np.int64)])] = True
    return marked


def _recall(rank: Array, row: Array, count: Array, k: int) -> npt.NDArray[np.float64]:
    hits = np.bincount(row[rank < k], minlength=len(count))
    best = np.minimum(count, k)
    recall: npt.NDArray[np.float64] = hits / np.maximum(best, 1)
    return recall


def _ndcg(rank: Array, row: Array, count: Array, k: int) -> npt.NDArray[np.float64]:
    discount = 1 / np.log2(np.arange(2, k + 2))
    top = rank < k
    gain = np.bincount(row[top], weights=discount[rank[top]], minlength=len(count))
    best = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(count, k)]
    ndcg: npt.NDArray[np.float64] = gain / np.where(best > 0, best, 1)
    # a sum in another order may end a rounding above the best one
    return np.minimum(ndcg, 1.0)

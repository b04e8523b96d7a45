"""Figures of likes that were looked at before they were learnt: over the whole life, and over the newest window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llm_rec.live.look import Seen
from streams.contract.columns import Array

FIGURES = ("ndcg_at_100", "recall_at_20", "log_loss", "base_ndcg_at_100", "base_log_loss")
_NDCG_AT, _RECALL_AT = 100, 20


@dataclass(frozen=True, slots=True)
class LikesWindow:
    """The newest W likes, oldest first: (W,) of the model, of popularity (`base`), and of the version accepted last.

    nan in `accepted_loss` where there was none, or it lacked an item.
    """

    loss: Array
    accepted_loss: Array
    ndcg: Array
    base_ndcg: Array


class Progressive:
    """Sums over a learner's life and its newest `window` likes. One like is wanted a time, so NDCG is its discount."""

    def __init__(self, window: int) -> None:
        self._size = window
        self.num_likes = 0
        self.sums = np.zeros(len(FIGURES))
        self.window: Array = np.zeros((0, len(FIGURES)))
        """(W, 5): FIGURES of each like."""
        self._accepted: Array = np.zeros(0)

    def add(self, seen: Seen, accepted_loss: Array) -> None:
        """Takes likes (L,) in."""
        recall = (seen.rank <= _RECALL_AT).astype(np.float64)
        figures = np.stack([_ndcg(seen.rank), recall, seen.loss, _ndcg(seen.base_rank), seen.base_loss], axis=1)
        self.num_likes += len(figures)
        self.sums = self.sums + figures.sum(axis=0)
        self.window = np.concatenate([self.window, figures])[-self._size :]
        self._accepted = np.concatenate([self._accepted, accepted_loss])[-self._size :]

    def newest(self) -> LikesWindow:
        """The window, for the gate."""
        ndcg, _, loss, base_ndcg, _ = self.window.T
        return LikesWindow(loss, self._accepted, ndcg, base_ndcg)

    def lifetime(self) -> dict[str, float]:
        """Means by name; nan before the first like."""
        return dict(zip(FIGURES, self._means(self.sums, self.num_likes), strict=True))

    def recent(self) -> dict[str, float]:
        """The same over the newest window."""
        return dict(zip(FIGURES, self._means(self.window.sum(axis=0), len(self.window)), strict=True))

    def restore(self, num_likes: int, sums: Array, window: Array) -> None:
        """Goes on from what was kept; what accepted versions would have said of the window is not known any more."""
        self.num_likes, self.sums, self.window = num_likes, sums, window
        self._accepted = np.full(len(window), np.nan)

    def _means(self, sums: Array, count: int) -> list[float]:
        return [float(each) / count if count else float("nan") for each in sums]


def _ndcg(rank: Array) -> Array:
    """(L,) NDCG@100 where one item alone is relevant, at `rank` (L,) from 1."""
    discounts: Array = np.where(rank <= _NDCG_AT, 1 / np.log2(rank + 1), 0.0)
    return discounts

"""Items like those in the history: cosine similarity of who liked them, the nearest kept.

Source: Sarwar et al., "Item-based Collaborative Filtering", WWW 2001, as implemented in the package `implicit`
(Frederickson), which is imported when a model is fitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from llm_rec.interactions import Catalogue
from llm_rec.packages import imported
from llm_rec.splits import Split
from streams.contract.columns import Array
from streams.contract.values import Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemKnnConfig:
    """How many neighbours of each item are kept."""

    neighbours: int = 100


class ItemKnn:
    """`implicit`'s ItemItemRecommender over unit columns, that is cosines, summed over the history."""

    name = "item-knn"

    def __init__(self, config: ItemKnnConfig) -> None:
        self._config = config
        self._similarity: Any = None

    def fit(self, split: Split, catalogue: Catalogue, *, seed: int) -> None:
        """Measures all pairs of items. Raises InputError where `implicit` cannot be imported."""
        knn = imported("implicit.nearest_neighbours", package="implicit")
        likes = _sparse(split.train, len(split.items))
        likes.data /= np.sqrt(np.bincount(likes.indices, minlength=len(split.items)))[likes.indices]
        model = knn.ItemItemRecommender(K=self._config.neighbours, num_threads=1)
        model.fit(likes, show_progress=False)
        self._similarity = model.similarity

    def scores(self, users: Array, histories: list[Array]) -> Floats:
        """(B, J): sums of similarities, 0 where none of the history is near."""
        rows: Floats = (_sparse(histories, self._similarity.shape[0]) @ self._similarity).toarray().astype(np.float32)
        return rows


def _sparse(histories: list[Array], num_items: int) -> Any:
    """The (B, J) incidence as a compressed sparse matrix of `scipy`, which comes with `implicit`."""
    sparse = imported("scipy.sparse", package="scipy")
    ends = np.cumsum([0, *(len(history) for history in histories)])
    items = np.concatenate([*histories, np.zeros(0, dtype=np.int64)])
    return sparse.csr_matrix((np.ones(len(items)), items, ends), shape=(len(histories), num_items))

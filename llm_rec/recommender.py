"""What every recommender of next items can do."""

from __future__ import annotations

from typing import Protocol

from llm_rec.interactions import Catalogue
from llm_rec.splits import Split
from streams.contract.columns import Array
from streams.contract.values import Floats


class Recommender(Protocol):
    """Learns from a split's training likes, then scores all items for users with a history."""

    @property
    def name(self) -> str:
        """What a comparison calls it."""
        ...

    def fit(self, split: Split, catalogue: Catalogue, *, seed: int) -> None:
        """Learns from `split.train`; may choose among its own states by `split.valid`, and never sees `split.test`."""
        ...

    def scores(self, users: Array, histories: list[Array]) -> Floats:
        """(B, J) float32: how likely each item is next for users (B,), given their item numbers, oldest first.

        Larger is better; nothing is masked.
        """
        ...

"""What every recommender is to the measurement: fitted once, then asked for scores of all items."""

from __future__ import annotations

from typing import Protocol

from llm_rec.interactions import Catalogue
from llm_rec.splits import Split
from streams.contract.columns import Array
from streams.contract.values import Floats


class Recommender(Protocol):
    """Fitted on the likes of a split, scores every item of it for users and their histories."""

    @property
    def name(self) -> str:
        """As it stands in tables."""

    def fit(self, split: Split, catalogue: Catalogue, *, seed: int) -> None:
        """Learns from `split.train`; `split.valid` may decide when to stop, `split.test` is never looked at.

        The same seed gives the same fit on the same machine. A second call forgets the first.
        """

    def scores(self, users: Array, histories: list[Array]) -> Floats:
        """(B, J) float32: how likely each item is next for users (B,), given their histories.

        Histories are item numbers, oldest first, and may be empty. Larger is better; nothing is masked.
        """

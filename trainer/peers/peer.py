"""What every peer is, and how those work that learn one example at a time.

A peer gets no label before it has predicted what the label belongs to. A learner of batches predicts the whole batch
and then learns it; one that learns example by example predicts all candidates of a request, then learns them: no
prediction knows the label of an example that was shown with it or later.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from streams.contract.columns import Array
from trainer.peers.flat import Flat


class Peer(Protocol):
    """A learner of somebody else's over flat examples."""

    def take(self, flat: Flat, label: Array, weight: Array) -> Array:
        """Logits (E,) of examples, each made before its label (E,) was known; then they are learnt."""

    def close(self) -> None:
        """Gives back what it holds."""


class BatchPeer(ABC):
    """A peer that predicts a batch, then learns it."""

    def take(self, flat: Flat, label: Array, weight: Array) -> Array:
        logit = self.predict(flat)
        self.learn(label, weight)
        return logit

    @abstractmethod
    def predict(self, flat: Flat) -> Array:
        """Logits (E,)."""

    @abstractmethod
    def learn(self, label: Array, weight: Array) -> None:
        """Learns labels and weights (E,) of what was predicted last."""

    def close(self) -> None:
        return


class ExamplePeer(ABC):
    """A peer that learns one example after the other, request by request."""

    def take(self, flat: Flat, label: Array, weight: Array) -> Array:
        examples = self.read(flat)
        logit = np.empty(len(flat), dtype=np.float32)
        labels, weights = label.tolist(), weight.tolist()
        for start, end in _requests(flat.request_index):
            for place in range(start, end):
                logit[place] = self.predict(examples[place])
            for place in range(start, end):
                self.learn(examples[place], labels[place], weights[place])
        return logit

    @abstractmethod
    def read(self, flat: Flat) -> list[Any]:
        """The E examples in the form that the library takes."""

    @abstractmethod
    def predict(self, example: Any) -> float:
        """The logit of one."""

    @abstractmethod
    def learn(self, example: Any, label: float, weight: float) -> None:
        """Learns one that was predicted."""

    def close(self) -> None:
        return


def _requests(request_index: Array) -> Iterator[tuple[int, int]]:
    """(start, end) of runs of examples of one request."""
    ends = np.flatnonzero(np.diff(request_index, append=-1)) + 1
    return zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)

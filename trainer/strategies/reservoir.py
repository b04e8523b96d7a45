"""A uniform sample of all examples that came, of bounded size, and what of it is learnt again.

The i-th example takes a random place of the |R| with probability |R| / i (Vitter's algorithm R), so each of
those seen is in the reservoir with the same probability. Positives are replayed by rank: the one scored
lowest weighs exp((N - 1) / N), the highest 1 (SPMF: Wang et al., KDD 2018). Negatives are replayed evenly, as
many for a positive as the reservoir has: positives alone would raise every prediction.
"""

from __future__ import annotations

import numpy as np

from streams.contract.columns import Array
from streams.contract.examples import ExampleBatch, concat_batches


class Reservoir:
    """At most `capacity` examples, in memory."""

    def __init__(self, capacity: int, *, seed: int) -> None:
        self._capacity = capacity
        self._random = np.random.default_rng(seed)
        self.seen = 0
        self.examples: ExampleBatch | None = None

    def offer(self, examples: ExampleBatch) -> None:
        """E new examples, in the order in which they came."""
        held = 0 if self.examples is None else len(self.examples)
        kept = places_kept(held, self._capacity, self.seen, len(examples), self._random)
        whole = examples if self.examples is None else concat_batches([self.examples, examples])
        self.examples = whole.take(kept)
        self.seen += len(examples)


def places_kept(held: int, capacity: int, seen: int, num_new: int, random: np.random.Generator) -> Array:
    """What each place of the reservoir holds next, as numbers among the `held` and then the new examples."""
    number = seen + np.arange(num_new)
    fills = number < capacity
    place = np.where(fills, number, random.integers(0, capacity, num_new))
    stays = fills | (random.random(num_new) * (number + 1) < capacity)
    kept = np.arange(min(capacity, held + num_new))
    # Of several that take one place, the last one stays, as if they had come one by one.
    kept[place[stays]] = held + np.flatnonzero(stays)
    return kept


def rank_weights(score: Array) -> Array:
    """exp(rank / N) of N scores: rank 0 is the highest, N - 1 the lowest."""
    rank = np.empty(len(score))
    rank[np.argsort(-score, kind="stable")] = np.arange(len(score))
    weights: Array = np.exp(rank / max(len(score), 1))
    return weights


def drawn(label: Array, score: Array, count: int, random: np.random.Generator) -> Array:
    """About `count` of N examples, in no order: positives by rank of their score (N,), negatives evenly."""
    positive, negative = np.flatnonzero(label > 0.5), np.flatnonzero(label <= 0.5)
    count = min(count, len(label))
    wanted = round(count * len(positive) / max(len(label), 1))
    weights = rank_weights(score[positive])
    chosen = random.choice(positive, wanted, replace=False, p=weights / weights.sum()) if wanted else positive[:0]
    others = random.choice(negative, count - wanted, replace=False)
    return random.permutation(np.concatenate([chosen, others]))

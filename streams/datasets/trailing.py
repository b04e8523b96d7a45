"""What was clicked in the time before: counts, and draws of articles that were not clicked now."""

from __future__ import annotations

import random
from collections import Counter, deque

from streams.datasets.options import Negatives

_DRAWS_A_NEGATIVE = 30


class TrailingCounts:
    """How often each item came in the last `window_ms`, to within one of `num_buckets` parts of it.

    Memory: the different items of each bucket, however often they came.
    """

    def __init__(self, window_ms: int, *, num_buckets: int = 24) -> None:
        self._bucket_ms = window_ms // num_buckets
        self._num_buckets = num_buckets
        self._buckets: deque[tuple[int, Counter[str]]] = deque()
        self._total: Counter[str] = Counter()

    def advance(self, time_ms: int) -> None:
        """Forgets the buckets that have left the window that ends at `time_ms`."""
        oldest = time_ms // self._bucket_ms - self._num_buckets
        while self._buckets and self._buckets[0][0] <= oldest:
            for item, count in self._buckets.popleft()[1].items():
                self._total[item] -= count
                if not self._total[item]:
                    del self._total[item]

    def add(self, time_ms: int, item: str) -> None:
        """Counts one more `item`; times must not fall."""
        bucket = time_ms // self._bucket_ms
        if not self._buckets or self._buckets[-1][0] != bucket:
            self._buckets.append((bucket, Counter()))
        self._buckets[-1][1][item] += 1
        self._total[item] += 1

    def count(self, item: str) -> int:
        """How often `item` came in the window."""
        return self._total.get(item, 0)


class TrailingItems:
    """The items of the last `window_ms`, to draw from. Memory: one entry for each time an item came in the window."""

    def __init__(self, window_ms: int) -> None:
        self._window_ms = window_ms
        self._items: deque[tuple[int, str]] = deque()
        self._counts: dict[str, int] = {}
        self._distinct: list[str] = []
        self._place: dict[str, int] = {}

    def advance(self, time_ms: int) -> None:
        """Forgets what is older than the window that ends at `time_ms`."""
        while self._items and self._items[0][0] < time_ms - self._window_ms:
            self._forget(self._items.popleft()[1])

    def add(self, time_ms: int, item: str) -> None:
        """Counts one more `item`; times must not fall."""
        self._items.append((time_ms, item))
        if item not in self._counts:
            self._place[item] = len(self._distinct)
            self._distinct.append(item)
        self._counts[item] = self._counts.get(item, 0) + 1

    def draw(self, rng: random.Random, how: Negatives, number: int, *, other_than: str) -> list[str]:
        """`number` different items, or as many as there are: each alike likely, or by its count in the window."""
        available = len(self._distinct) - (other_than in self._counts)
        if available <= number:
            return [item for item in self._distinct if item != other_than]
        drawn: dict[str, None] = {}
        if how == "popularity":
            for _ in range(_DRAWS_A_NEGATIVE * number):
                drawn[self._items[int(rng.random() * len(self._items))][1]] = None
                if len(drawn) - (other_than in drawn) == number:
                    break
            drawn.pop(other_than, None)
        # popularity that lies on a few items leaves the rest to uniform draws
        while len(drawn) < number:
            item = self._distinct[int(rng.random() * len(self._distinct))]
            if item != other_than:
                drawn[item] = None
        return list(drawn)

    def _forget(self, item: str) -> None:
        self._counts[item] -= 1
        if self._counts[item]:
            return
        del self._counts[item]
        place = self._place.pop(item)
        last = self._distinct.pop()
        if last != item:
            self._distinct[place] = last
            self._place[last] = place

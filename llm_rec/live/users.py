"""Users with a row: places in the tables, histories, and who goes when there is no more room.

A place is given to the next user once its own is evicted, so places are 0 to U - 1 without holes.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

import numpy as np

from streams.contract.columns import Array
from streams.contract.recommender import user_keys

_MOST_EVICTED = 100_000


class UserBook:
    """Names to places, least recently active first; histories hold the newest `most_liked` item numbers."""

    def __init__(self, *, most_users: int, most_liked: int) -> None:
        self._most = most_users
        self._most_liked = most_liked
        self.places: OrderedDict[str, int] = OrderedDict()
        self.keys = np.zeros(most_users, dtype=np.int64)
        """(I,): each place's id in the served tables."""
        self.likes = np.zeros(most_users, dtype=np.int64)
        """(I,): likes learnt of each place's user."""
        self.histories: list[Array] = []
        self.evicted: deque[tuple[int, int]] = deque(maxlen=_MOST_EVICTED)
        """(key, step) of the newest evictions, oldest first."""
        self.num_new = 0

    def __len__(self) -> int:
        return len(self.places)

    def restore(
        self, names: Sequence[str], places: Sequence[int], histories: Sequence[Array], likes: Sequence[int] | Array
    ) -> None:
        """Takes users in, least recently active first, each with its place; histories and likes by place."""
        self.places = OrderedDict(zip(names, places, strict=True))
        self.keys[np.array(places, dtype=np.int64)] = user_keys(names)
        self.likes[: len(likes)] = likes
        self.histories = [np.asarray(items[-self._most_liked :], dtype=np.int64) for items in histories]

    def place(self, name: str) -> int | None:
        """The user's place, None where there is no row."""
        return self.places.get(name)

    def history(self, name: str) -> Array:
        """Item numbers, oldest first; empty for a user without a row."""
        place = self.places.get(name)
        return _NOTHING if place is None else self.histories[place]

    def like(self, name: str, item: int, step: int) -> tuple[int, bool]:
        """Appends to the user's history; (place, whether the user is new there)."""
        place = self.places.get(name)
        if is_new := place is None:
            place = self._room(name, step)
        assert place is not None
        self.places[name] = place
        self.places.move_to_end(name)
        self.histories[place] = np.append(self.histories[place], item)[-self._most_liked :]
        self.likes[place] += 1
        return place, is_new

    def gone_since(self, step: int) -> tuple[Array, bool]:
        """(keys evicted behind `step` and not here again, whether some of them are not known any more)."""
        gone = np.array([key for key, at in self.evicted if at > step], dtype=np.int64)
        forgotten = len(self.evicted) == _MOST_EVICTED and self.evicted[0][1] > step
        return np.setdiff1d(gone, self.keys[: len(self.histories)]), forgotten

    def _room(self, name: str, step: int) -> int:
        self.num_new += 1
        if len(self.places) < self._most:
            place = len(self.histories)
            self.histories.append(_NOTHING)
        else:
            _, place = self.places.popitem(last=False)
            self.evicted.append((int(self.keys[place]), step))
            self.histories[place], self.likes[place] = _NOTHING, 0
        self.keys[place] = user_keys([name])[0]
        return place


_NOTHING: Array = np.zeros(0, dtype=np.int64)

"""What the stream has taught of the users of a pass: their rows and their histories, at one version throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.recommender.served_generation import ServedRecommender
from serving.scorer.keys import distinct
from serving.scorer.resolve import Fetcher, bring
from streams.contract.columns import Array
from streams.contract.recommend_wire import RecommendRequest
from streams.contract.recommender import history_of, user_keys
from streams.contract.wire import STALE_UPDATES, STORE_UNAVAILABLE, flag_names

_NO_ADS: Array = np.zeros((0, 1), dtype=np.int64)
_NOTHING: Array = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class KnownUser:
    """key: the user's id; row (D,), None where there is none or prompts name no users; likes (H,): what the stream
    has seen, oldest first, none where the request has a history of its own."""

    key: int
    row: Array | None
    likes: Array
    flags: tuple[str, ...]
    """What kept a row from being looked up; empty where all that there is was found."""


def known_users(
    served: ServedRecommender, requests: Sequence[RecommendRequest], fetcher: Fetcher, timeout_seconds: float
) -> tuple[list[KnownUser], int]:
    """(a user a request, rows asked for). Under the recommender's lock; versions may be applied within, none behind."""
    keys = user_keys([request.unit_id for request in requests])
    wants_row = np.full(len(keys), served.language_model.names_users)
    wants_likes = np.array([request.history is None for request in requests], dtype=np.bool_)
    tables = np.repeat(np.array([served.users_table, served.histories_table], dtype=np.int16), len(keys))
    ids, wanted = np.tile(keys, 2), np.concatenate([wants_row, wants_likes])
    slots = np.full(len(ids), -1, dtype=np.int32)
    served.rows.begin_batch()
    slots[wanted] = served.rows.lookup(tables[wanted], ids[wanted])
    missing = np.flatnonzero(wanted & (slots < 0))
    flags = num_asked = 0
    if len(missing):
        asked = missing[distinct(tables[missing], ids[missing])]
        num_asked = len(asked)
        flags = bring(served, tables[asked], ids[asked], _NO_ADS, fetcher, timeout_seconds)
        slots[wanted] = served.rows.lookup(tables[wanted], ids[wanted])
    lacking = (wanted & (slots < 0)).reshape(2, -1).any(axis=0)
    said = tuple(flag_names(flags & (STORE_UNAVAILABLE | STALE_UPDATES)))
    rows = [_row(served, slot) for slot in slots.tolist()]
    return [
        KnownUser(key, row, _NOTHING if likes is None else _of(served, likes), said if lacks else ())
        for key, row, likes, lacks in zip(
            keys.tolist(), rows[: len(keys)], rows[len(keys) :], lacking.tolist(), strict=True
        )
    ], num_asked


def _row(served: ServedRecommender, slot: int) -> Array | None:
    """The row (D,) in that slot, None where the key has none."""
    row: Array = served.rows.values[slot].numpy()
    return row if slot >= len(served.generation.tables) else None


def _of(served: ServedRecommender, row: Array) -> Array:
    """The likes in a row (D,) of the table `histories`."""
    numbers = history_of(row)
    return numbers[numbers < len(served.catalogue)]

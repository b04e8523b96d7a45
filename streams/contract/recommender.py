"""How a recommender travels and lies in Redis: a generation and its versions, as of any other model.

A generation of the model `recommender` has the programs below and three tables of one dimension D = d + 1,
d the width of the language model. Its versions travel on `recommender-updates`.

    programs     config        JSON of the recipe's configuration
                 backbone      safetensors of the language model's own learnt weights, which a generation never changes
                 catalogue     MessagePack list of `Item`: number j is the j-th, at the generation's start

    table        id                       row (D,) float32
    items        the item's number        collaborative embedding (d,), bias
    users        `user_key` of the name   collaborative embedding (d,), number of likes
    histories    the same                 numbers of the newest D items liked, newest first; -1 where there are no more

    dense        new_items (n,) uint8     MessagePack list of `Item`: those since the catalogue, in the order of
                                          numbers; the whole list in every version
                 temperature (1,) float32 what scores are divided by before they are probabilities; 1 where left out

Users have rows where the recipe names them in prompts, and histories alone where it does not
(`schedule.anonymous_share` 1). Item numbers are exact in float32 up to 2^24. An item in the catalogue
whose row is all zeros is not ranked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from streams.contract.columns import Array
from streams.contract.errors import FormatError
from streams.contract.schema import Feature, Schema
from streams.contract.values import ids_of

ITEMS, USERS, HISTORIES = "items", "users", "histories"
CONFIG, BACKBONE, CATALOGUE = "config", "backbone", "catalogue"
NEW_ITEMS, TEMPERATURE = "new_items", "temperature"
MOST_ITEMS = 1 << 24
NO_ITEM = -1


class Item(msgspec.Struct, array_like=True, frozen=True):
    """One item: its name in events, what is said of it, and the raw features of its last impression at that time."""

    name: str
    text: str = ""
    features: dict[str, Any] = {}


def recommender_schema(width: int) -> Schema:
    """The schema of a recommender's generations, for a language model of that width."""
    dim = width + 1
    return Schema(
        name="recommender",
        features=(
            Feature(name="user", scope="user", kind="categorical", table=USERS, dim=dim),
            Feature(name="history", scope="user", kind="sequence", table=HISTORIES, dim=dim, max_length=dim),
            Feature(name="item", scope="ad", kind="categorical", dtype="int", table=ITEMS, dim=dim),
        ),
    )


_USER = Feature(name="user", scope="user", kind="categorical")


def user_keys(names: Sequence[str]) -> Array:
    """Ids (N,) int64 of users in the tables `users` and `histories`."""
    return ids_of(_USER, list(names))


def pack_items(items: Sequence[Item]) -> bytes:
    """Items as a program `catalogue`, or as the bytes of `new_items`."""
    return msgspec.msgpack.encode(list(items))


def unpack_items(packed: bytes) -> list[Item]:
    """The inverse of `pack_items`. Raises FormatError on anything else."""
    try:
        return msgspec.msgpack.decode(packed, type=list[Item]) if packed else []
    except msgspec.MsgspecError as error:
        raise FormatError(f"is no list of items: {error}", field=CATALOGUE,
                          remedy="start a new generation") from error  # fmt: skip


def temperature_of(dense: Mapping[str, Array]) -> float:
    """The temperature in a version's dense part. Raises FormatError for one that is not above 0."""
    held = dense.get(TEMPERATURE)
    if held is None:
        return 1.0
    value = float(held[0]) if held.shape == (1,) else float("nan")
    if not 0 < value < float("inf"):
        raise FormatError("is not one number above 0", field=f"dense.{TEMPERATURE}", value=held.tolist(),
                          remedy="publish the next version")  # fmt: skip
    return value


def history_rows(histories: Sequence[Array], dim: int) -> Array:
    """Rows (N, D) of the table `histories`, for item numbers oldest first."""
    rows = np.full((len(histories), dim), NO_ITEM, dtype=np.float32)
    for row, items in zip(rows, histories, strict=True):
        newest = items[::-1][:dim]
        row[: len(newest)] = newest
    return rows


def history_of(row: Array) -> Array:
    """Item numbers (H,) int64, oldest first, of a row (D,) of the table `histories`."""
    known: Array = row[row >= 0].astype(np.int64)
    return known[::-1]

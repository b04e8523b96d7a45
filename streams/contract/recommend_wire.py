"""The tensors of the `recommender` model: a user and a history in, items and their scores out.

    request  UINT8 [1, n]   UTF-8 JSON of one `RecommendRequest`
    answer   UINT8 [1, m]   UTF-8 JSON of one `RecommendAnswer`

Names travel, not numbers: only the model knows which number an item has. A request with `k` 0 asks what
is served, and is answered even before a version is there (version 0, no items).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from streams.contract.columns import Array
from streams.contract.errors import FormatError, InputError

RECOMMENDER = "recommender"
"""The model's name, in Triton and in Redis."""
MAX_ITEMS = 1000
MAX_HISTORY = 1000
MAX_EXCLUDED = 10_000

# what stands in `flags`
UNKNOWN_USER = "unknown_user"
"""Nothing is known of the user but the history that came with the request."""
UNKNOWN_ITEMS = "unknown_items"
"""Some items of the history are in no catalogue and were left out."""
CACHED_STATE = "cached_state"
"""The user's state was computed before, by the same version."""
STORE_UNAVAILABLE = "store_unavailable"
STALE_UPDATES = "stale_updates"

LATE = "late"
"""What a refusal's reason begins with where no answer would have come in time."""


class RecommendRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The `k` best items for a user; what the user liked, and what is excluded, is never among them."""

    unit_id: str
    k: int
    history: list[str] | None = None
    """Items liked, oldest first, in the place of what the stream tells of the user; None: the stream's."""
    exclude: list[str] = []
    with_features: bool = False
    """Whether each item comes with the raw features of its last impression."""
    answer_by_ms: int = 0
    """Wall-clock milliseconds by which the answer is of use; 0: whenever. Clocks of both sides must agree."""


class RankedItem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One item; `score` is its logarithm of the probability of being the next like, among all items."""

    item_id: str
    score: float
    features: dict[str, Any] | None = None


class RecommendAnswer(msgspec.Struct, kw_only=True):
    """Items, best first, all scored by one version."""

    items: list[RankedItem]
    version: int = 0
    generation: int = 0
    newest_ingest_ms: int = 0
    newest_event_time_ms: int = 0
    num_items: int = 0
    """How many items the catalogue has."""
    flags: list[str] = []


_REQUEST = msgspec.json.Decoder(RecommendRequest)
_ANSWER = msgspec.json.Decoder(RecommendAnswer)


def pack_recommend(message: RecommendRequest | RecommendAnswer) -> Array:
    """The message as a tensor (1, n) uint8."""
    return np.frombuffer(msgspec.json.encode(message), dtype=np.uint8).reshape(1, -1)


def unpack_request(tensors: Mapping[str, Array]) -> RecommendRequest:
    """The request in the model's inputs. Raises InputError naming the field."""
    if "request" not in tensors:
        raise InputError("is missing", field="request", remedy="send the tensor request, UINT8 [1, n]")
    try:
        request = _REQUEST.decode(tensors["request"].tobytes())
    except msgspec.MsgspecError as error:
        what, _, path = str(error).partition(" - at ")
        raise InputError(what, field=path.strip("`$.") or "request") from error
    _check(request)
    return request


def unpack_answer(tensors: Mapping[str, Array]) -> RecommendAnswer:
    """The answer in the model's outputs. Raises FormatError on anything else."""
    try:
        return _ANSWER.decode(tensors["answer"].tobytes())
    except (KeyError, msgspec.MsgspecError) as error:
        raise FormatError(f"is no answer of a recommender: {error}", field="answer",
                          remedy="see that gateway and recommender are of the same release") from error  # fmt: skip


def _check(request: RecommendRequest) -> None:
    if not 0 <= request.k <= MAX_ITEMS:
        raise InputError(f"must be 0 to {MAX_ITEMS}", field="k", value=request.k, remedy="ask for fewer items")
    for name, values, most in (
        ("history", request.history or [], MAX_HISTORY), ("exclude", request.exclude, MAX_EXCLUDED),
    ):  # fmt: skip
        if len(values) > most:
            raise InputError(f"must have at most {most} items", field=name, value=len(values),
                             remedy="give the newest alone")  # fmt: skip

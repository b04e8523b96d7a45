"""Everything a learner is, as a checkpoint holds it: tensors by part, and plain values.

A run that goes on from it does what the one that was interrupted would have done, to the last bit. What depends on
the moment is not in it: what accepted versions would have said of the window, and when the newest likes were settled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import torch

from llm_rec.live.learner import LiveLearner
from streams.contract.columns import Array
from streams.contract.errors import FormatError
from streams.contract.recommender import Item

_COUNTERS = ("step", "num_examples", "num_new_items", "newest_event_time_ms", "newest_ingest_ms")


def learner_tensors(learner: LiveLearner) -> dict[str, dict[str, Array]]:
    """The arrays by part and name; they are the learner's own."""
    tables, users, progressive = learner.tables, learner.users, learner.progressive
    places = len(users.histories)
    bias = tables.models.bias
    return {
        "tables": {
            "rows": tables.table.detach().numpy(), "sums": tables.sums.numpy(),
            "bias": np.zeros(0, dtype=np.float32) if bias is None else bias.detach().numpy(),
            "bias_sums": tables.bias_sums.numpy(),
            "user_changed": tables.user_changed, "item_changed": tables.item_changed,
        },
        "users": {
            "places": np.array(list(users.places.values()), dtype=np.int64), "likes": users.likes[:places],
            "evicted": np.array(users.evicted, dtype=np.int64).reshape(-1, 2),
            "liked": np.concatenate([np.zeros(0, dtype=np.int64), *users.histories]),
            "lengths": np.array([len(items) for items in users.histories], dtype=np.int64),
        },
        "counts": {"counts": learner.counts.counts},
        "progressive": {"sums": progressive.sums, "window": progressive.window},
    }  # fmt: skip


def learner_values(learner: LiveLearner) -> dict[str, Any]:
    """The plain values."""
    return {
        "counters": {name: getattr(learner, name) for name in _COUNTERS},
        "user_places": learner.tables.user_places, "item_places": learner.tables.item_places,
        "users": list(learner.users.places), "num_new_users": learner.users.num_new,
        "items": msgspec.to_builtins(learner.items.items), "num_left_out": learner.items.num_left_out,
        "temperature": [learner.temperature.log, learner.temperature.sum],
        "counts_ms": learner.counts.newest_ms, "num_likes": learner.progressive.num_likes,
    }  # fmt: skip


def load_learner(learner: LiveLearner, tensors: Mapping[str, dict[str, Array]], values: Mapping[str, Any]) -> None:
    """Puts it into a learner made of the same model folder and config. Raises FormatError where it does not fit."""
    try:
        _load_items(learner, values)
        _load_tables(learner, tensors["tables"], values)
        _load_users(learner, tensors["users"], values)
        for name in _COUNTERS:
            setattr(learner, name, int(values["counters"][name]))
        learner.counts.counts, learner.counts.newest_ms = tensors["counts"]["counts"], int(values["counts_ms"])
        learner.temperature.log, learner.temperature.sum = map(float, values["temperature"])
        progressive = tensors["progressive"]
        learner.progressive.restore(int(values["num_likes"]), progressive["sums"], progressive["window"])
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError, msgspec.ValidationError) as error:
        raise FormatError(f"is no state of this recommender: {error!r}", field="checkpoints",
                          remedy="resume with the model and bounds that it began with") from error  # fmt: skip


def _load_items(learner: LiveLearner, values: Mapping[str, Any]) -> None:
    learner.items.begin(msgspec.convert(values["items"], list[Item]))
    learner.items.num_left_out = int(values["num_left_out"])


def _load_tables(learner: LiveLearner, held: Mapping[str, Array], values: Mapping[str, Any]) -> None:
    tables = learner.tables
    tables.make_room(int(values["user_places"]), int(values["item_places"]))
    tables.num_items = len(learner.items)
    with torch.no_grad():
        tables.table.copy_(torch.from_numpy(held["rows"]))
        tables.sums.copy_(torch.from_numpy(held["sums"]))
        tables.bias_sums.copy_(torch.from_numpy(held["bias_sums"]))
        if tables.models.bias is not None:
            tables.models.bias.copy_(torch.from_numpy(held["bias"]))
    tables.user_changed, tables.item_changed = np.array(held["user_changed"]), np.array(held["item_changed"])


def _load_users(learner: LiveLearner, held: Mapping[str, Array], values: Mapping[str, Any]) -> None:
    histories = np.split(held["liked"], np.cumsum(held["lengths"])[:-1]) if len(held["lengths"]) else []
    learner.users.restore(values["users"], held["places"].tolist(), histories, held["likes"])
    learner.users.evicted.clear()
    learner.users.evicted.extend((int(key), int(step)) for key, step in held["evicted"])
    learner.users.num_new = int(values["num_new_users"])

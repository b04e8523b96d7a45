"""`freshet up` with a recommender that was trained on a few films, and what is said to its gateway."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.datasets.registry import schema_path
from tests.support.gateway import Http
from tests.support.liked_films import write_films
from tests.support.stacks import freshet


@dataclass(frozen=True)
class Trained:
    """The films, and the folder of a recommender that knows their train part."""

    data: str
    model: Path


@dataclass(frozen=True)
class Services:
    """What `freshet up` started, and the folder of the model."""

    http: Http
    folder: Path
    model: Path
    status: dict[str, Any]


def train_recommender(folder: Path) -> Trained:
    """What `freshet recommender train` makes of the films."""
    made = Trained(write_films(folder / "data"), folder / "model")
    done = freshet("recommender", "train", "--data", made.data, "--split", "time", "--out", made.model, "--json")
    assert done.code == 0, done.stderr
    return made


@contextmanager
def recommender_stack(trained: Trained, folder: Path) -> Iterator[Services]:
    """Everything, with the trained recommender; stopped at the end of the block."""
    schema = schema_path(trained.data)
    assert schema is not None
    up = freshet("up", "--schema", schema, "--recommender", trained.model, "--window-seconds", "1", "--dir", folder,
                 "--json")  # fmt: skip
    try:
        assert up.code == 0, up.stderr
        yield Services(Http(up.json["addresses"]["gateway"]), folder, trained.model, up.json)
    finally:
        if (folder / "services.json").exists():
            freshet("down", "--dir", folder)


def names(answer: dict[str, Any]) -> list[str]:
    """The items recommended, best first."""
    return [item["item_id"] for item in answer["items"]]


def click(impression: str, user: str, item: str) -> dict[str, Any]:
    """Feedback as it is posted."""
    return {"type": "feedback", "event_id": f"{impression}-{item}", "event_time_ms": now_ms(), "session_id": user,
            "impression_id": impression, "ad_id": item}  # fmt: skip


def now_ms() -> int:
    """The wall clock, which is the data's here."""
    return time.time_ns() // 1_000_000

"""A learner killed at any moment ends as one that was not, to the last bit: rows, sums, histories, counts, offsets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm_rec.model_folder import write_model
from streams.contract.examples import ExampleBatch, Mark
from streams.log.event_log import EXAMPLES, EventLog, open_log
from streams.store.row_store import open_row_store
from tests.support.killed_learner import run
from tests.support.live_recommender import batches, fitted, newcomers, shown
from tests.support.toy_examples import append_all
from tests.support.two_communities import NUM_ITEMS
from tests.support.valkey import ValkeyServer, flush

pytestmark = pytest.mark.slow
KILLS = 4


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[EventLog]:
    """Two partitions of newcomers and new items, with marks and damage between them."""
    log = open_log(f"embedded:{tmp_path / 'log'}")
    log.create_topic(EXAMPLES, 2)
    for partition in log.partitions(EXAMPLES):
        number = partition.partition
        contents: list[ExampleBatch | Mark | bytes] = []
        for place, batch in enumerate(batches(newcomers(45, seed=number), size=11)):
            new = NUM_ITEMS + place % 9
            contents += [batch, shown([("u1", new), ("u2", new)], start=11 * place, liked=[True, place % 2 == 0])]
            contents += [Mark()] if place % 5 == number else []
            contents += [b"damaged"] if place % 7 == number else []
        append_all(log, partition, [*contents, Mark(final=True)])
    yield log
    log.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the fitted model."""
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, fitted())
    return folder


def test_killed_learner_ends_bit_identical(filled: EventLog, model: Path, tmp_path: Path) -> None:
    whole = run(filled.address, model, tmp_path / "whole", kills=0)
    killed = run(filled.address, model, tmp_path / "killed", kills=KILLS, seed=1)
    assert killed["killed"] == KILLS
    assert whole["state"]["counters"]["num_new_items"] == 9
    assert whole["state"]["cursor"]["num_undecodable"] > 0
    assert _same(killed, whole)


def test_publishing_changes_nothing_of_what_is_learnt_and_a_killed_publisher_catches_up(
    filled: EventLog, model: Path, tmp_path: Path, valkey: ValkeyServer
) -> None:
    flush([valkey])
    quiet = run(filled.address, model, tmp_path / "quiet", kills=0)
    killed = run(filled.address, model, tmp_path / "killed", kills=KILLS, seed=2, redis=valkey.address)
    assert _same(killed, quiet)
    store = open_row_store(valkey.address, model="recommender", password="")
    head = store.head(store.generations()[-1])
    store.close()
    assert head is not None
    assert head.step == quiet["step"]
    assert np.isfinite(head.metrics["lifetime_log_loss"])


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one[name] == other[name] for name in ("step", "digest", "state"))

"""`freshet train` as it is run: its metrics page, and that it ends soon where the store is away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streams.log.event_log import EXAMPLES, EventLog, open_log
from tests.support.toy_examples import SCHEMA, append_all, toy_batch
from tests.support.valkey import ValkeyServer, valkey_server, wait_until
from tests.support.workers import Worker, worker

pytestmark = pytest.mark.slow
NUM_REQUESTS = 400
EXAMPLES_TRAINED = ("freshet_examples_trained_total",)
VERSION = ("freshet_published_version",)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    opened = open_log(f"embedded:{tmp_path / 'log'}")
    opened.create_topic(EXAMPLES, 1)
    yield opened
    opened.close()


@contextmanager
def trainer(log: EventLog, store: ValkeyServer, folder: Path) -> Iterator[Worker]:
    """A trainer of toy examples that publishes often."""
    schema = folder / "toy.toml"
    schema.write_text(SCHEMA)
    addresses = ("--log", log.address, "--redis", store.address, "--schema", schema)
    rest = ("--checkpoints", folder / "checkpoints", "--publish-seconds", "0.2", "--table-rows", 5000, "--promote")
    with worker(folder, "train", *addresses, *rest) as started:
        yield started


def test_page_shows_scores_speed_versions_and_dead_letters(log: EventLog, tmp_path: Path) -> None:
    [partition] = log.partitions(EXAMPLES)
    append_all(log, partition, [b"damaged", toy_batch(NUM_REQUESTS)])
    with valkey_server() as store, trainer(log, store, tmp_path) as started:
        wait_until(lambda: started.scrape().get(EXAMPLES_TRAINED, 0) >= 1000, "it does not learn", 60)
        wait_until(lambda: VERSION in started.scrape(), "nothing is published", 60)
        append_all(log, partition, [toy_batch(NUM_REQUESTS, start=NUM_REQUESTS)])
        wait_until(lambda: started.scrape()[EXAMPLES_TRAINED] > 4 * NUM_REQUESTS, "it does not go on", 60)
        # Nothing else comes: what was learnt last is published all the same.
        wait_until(lambda: started.scrape()["freshet_publish_lag_seconds",] == 0, "the last batch waits", 60)
        shown, degraded = started.scrape(), started.degraded()
        account = started.stop()
    assert degraded == []
    assert shown["freshet_examples_per_second",] > 0
    assert shown["freshet_dead_letters_total", "undecodable"] == account["dead_letters"] == 1
    assert 0.5 < shown["freshet_normalized_entropy",] < 1.5
    assert 0.4 < shown["freshet_auc",] < 0.9
    assert shown["freshet_base_rate_log_loss",] > 0
    assert shown["freshet_vocabulary_rows",] > 0
    assert 1 <= shown["freshet_versions_published_total",] <= account["versions_published"]
    assert shown["freshet_publish_append_seconds",] > 0
    assert shown["freshet_publish_write_seconds",] > 0
    # What the toy examples say of when they were decided lies years back.
    assert shown["freshet_learnt_age_seconds",] > 86_400


def test_trainer_whose_store_is_away_says_so_and_ends_within_seconds_of_sigterm(log: EventLog, tmp_path: Path) -> None:
    [partition] = log.partitions(EXAMPLES)
    append_all(log, partition, [toy_batch(NUM_REQUESTS)])
    with valkey_server() as store, trainer(log, store, tmp_path) as started:
        wait_until(lambda: VERSION in started.scrape(), "nothing is published", 60)
        store.kill()
        append_all(log, partition, [toy_batch(NUM_REQUESTS, start=NUM_REQUESTS)])
        wait_until(lambda: started.degraded() != [], "it does not notice", 60)
        wait_until(lambda: started.scrape().get(EXAMPLES_TRAINED, 0) > 4 * NUM_REQUESTS, "it does not learn on", 60)
        assert store.address in started.degraded()[0]
        began = time.monotonic()
        account = started.stop()
        seconds = time.monotonic() - began
    assert seconds < 35, "without the signal's shorter patience it is 40 and more"
    assert account["examples_trained"] > 4 * NUM_REQUESTS
    assert account["checkpoint"]

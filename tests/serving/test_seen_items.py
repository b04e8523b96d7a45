"""What units like already, read from a real store that a recommender was published to, and from one that is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.gateway.deadline_shares import DeadlineShares
from serving.gateway.seen_items import Seen, SeenItems
from serving.scorer.store_link import StoreLink
from streams.contract.recommend_wire import RECOMMENDER
from streams.contract.recommender import CATALOGUE, HISTORIES
from streams.log.event_log import open_log
from streams.store.row_store import open_row_store
from streams.store.row_writer import BundleWrite
from tests.support.generations import generation, manifest
from tests.support.recommender_versions import PublishedRecommender, items_named
from tests.support.valkey import ValkeyServer, flush, valkey_server

UNKNOWN = Seen(frozenset(), is_whole=False)
NOTHING = Seen(frozenset(), is_whole=True)


class Reader:
    """A gateway's reader of seen items, asked one question after the other."""

    def __init__(self, address: str) -> None:
        self.seen = SeenItems(StoreLink(address, RECOMMENDER), DeadlineShares(), poll_seconds=0.02)

    def refresh(self) -> None:
        """One look at what is live."""
        asyncio.run(self.seen.refresh())

    def of(self, unit: str, *, seconds: float = 20.0) -> Seen:
        """What the unit likes, for a request that has so much time."""
        return asyncio.run(self.seen.of(unit, time.monotonic() + seconds))


@pytest.fixture
def reader(redis_address: str) -> Iterator[Reader]:
    opened = Reader(redis_address)
    yield opened
    opened.seen.close()


@pytest.fixture
def model(redis_address: str, tmp_path: Path) -> Iterator[PublishedRecommender]:
    """Items a to d; `u` liked c, then a."""
    log = open_log(f"embedded:{tmp_path / 'log'}")
    store = open_row_store(redis_address, model=RECOMMENDER, password="")
    model = PublishedRecommender(log, store, items_named(*"abcd"))
    model.begin(users=["u"])
    model.publish(histories={"u": [2, 0]})
    yield model
    store.close()
    log.close()


def liked(*names: str) -> Seen:
    return Seen(frozenset(names), is_whole=True)


def test_likes_of_a_unit_are_named_and_nobody_elses(model: PublishedRecommender, reader: Reader) -> None:
    assert reader.of("u") == UNKNOWN, "nothing has been read yet"
    reader.refresh()
    assert reader.of("u") == liked("a", "c")
    assert reader.of("stranger") == NOTHING


def test_newest_like_counts_without_another_look_at_what_is_live(model: PublishedRecommender, reader: Reader) -> None:
    reader.refresh()
    model.publish(histories={"u": [2, 0, 3]})
    assert reader.of("u") == liked("a", "c", "d")


def test_like_of_an_item_whose_name_is_not_read_yet_is_told_to_be_missing(
    model: PublishedRecommender, reader: Reader
) -> None:
    reader.refresh()
    model.publish(new_items=items_named("new"), histories={"u": [2, 0, 4]})
    assert reader.of("u") == Seen(frozenset("ac"), is_whole=False)
    reader.refresh()
    assert reader.of("u") == liked("a", "c", "new")


def test_numbers_mean_what_the_live_generation_calls_them(model: PublishedRecommender, reader: Reader) -> None:
    reader.refresh()
    other = PublishedRecommender(model.log, model.store, items_named(*"dcba"))
    other.begin()
    other.publish(histories={"u": [0]})
    reader.refresh()
    assert reader.of("u") == liked("d")
    model.store.rollback(model.generation)
    reader.refresh()
    assert reader.of("u") == liked("a", "c")


def test_store_without_a_recommender_says_that_nobody_likes_anything_and_one_that_lost_it_says_nothing(
    reader: Reader, model: PublishedRecommender, valkey_nodes: list[ValkeyServer]
) -> None:
    flush(valkey_nodes)
    reader.refresh()
    assert reader.of("u") == NOTHING
    model.begin()
    model.publish(histories={"u": [1]})
    reader.refresh()
    assert reader.of("u") == liked("b")
    flush(valkey_nodes)
    reader.refresh()
    assert reader.of("u") == UNKNOWN


def test_generation_that_is_no_recommenders_is_told_to_be_unknown(
    reader: Reader, model: PublishedRecommender, valkey_nodes: list[ValkeyServer]
) -> None:
    flush(valkey_nodes)
    other = generation(model=RECOMMENDER)
    assert HISTORIES not in other.tables
    model.store.write_generation(other, {CATALOGUE: b""})
    model.store.write_version(manifest(1, model=RECOMMENDER), {}, {}, {}, BundleWrite())
    model.store.set_live(1)
    reader.refresh()
    assert reader.of("u") == UNKNOWN


def test_store_that_went_away_is_not_waited_for_and_read_again_once_it_is_back(tmp_path: Path) -> None:
    log = open_log(f"embedded:{tmp_path / 'log'}")
    with valkey_server() as server:
        reader, store = Reader(server.address), open_row_store(server.address, model=RECOMMENDER, password="")
        model = PublishedRecommender(log, store, items_named(*"abcd"))
        model.begin()
        model.publish(histories={"u": [2, 0]})
        reader.refresh()
        with server.client() as client:
            client.client_pause(2000)
        assert reader.of("u", seconds=0.3) == UNKNOWN, "it does not answer in time"
        reader.refresh()
        assert reader.of("u") == liked("a", "c"), "the look was patient enough to see it answer again"
        server.kill()
        assert reader.of("u") == UNKNOWN
        reader.refresh()
        assert reader.of("u") == UNKNOWN
        server.start()
        model.begin()
        model.publish(histories={"u": [1]})
        reader.refresh()
        assert reader.of("u") == liked("b")
        reader.seen.close()
        store.close()
    log.close()

"""Misses of a batch: rows alone and rows of an ad packed together, in one answer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from serving.scorer.keys import distinct
from serving.scorer.store_link import StoreLink
from streams.contract.bundles import bundle_keys, bundle_layout, encode_bundles
from streams.contract.columns import Array
from streams.contract.errors import UnavailableError
from streams.contract.rows import bucket_key, encode_rows
from streams.store.row_store import RowStore
from streams.store.row_writer import BundleWrite
from tests.support.generations import DIM, generation, ids, manifest, rows
from tests.support.valkey import ValkeyServer, flush, valkey_server

GENERATION = generation()
NUMBERS = {table: number for number, table in enumerate(GENERATION.tables)}


@pytest.fixture
def link(redis_address: str) -> Iterator[StoreLink]:
    opened = StoreLink(redis_address, "ads")
    opened.live_generation()
    yield opened
    opened.close()


def publish(store: RowStore) -> None:
    """Version 5: ad 1 with a row, campaign 2 shared by many ads, advertiser 3 without a row; user 9 alone."""
    store.write_generation(GENERATION, {})
    layout = bundle_layout(GENERATION)
    packed = encode_rows(np.full((3, DIM), 1.5, dtype=np.float32), "fp32").reshape(1, 3, -1)
    ads = np.array([[1, 2, 3]])
    values = encode_bundles(layout, 5, ads, np.array([[True, False, False]]), np.array([[False, False, True]]), packed)
    changed = {"user": rows([9], 9.0), "ad": rows([1, 4], 7.0), "campaign": rows([2], 2.0)}
    store.write_version(manifest(5), {}, changed, {}, BundleWrite(bundle_keys(ads), values))


def keys(*pairs: tuple[str, int]) -> tuple[Array, Array]:
    return np.array([NUMBERS[table] for table, _ in pairs], dtype=np.int16), ids(*(one for _, one in pairs))


def test_rows_come_in_the_order_of_their_keys_whichever_way_they_lie(store: RowStore, link: StoreLink) -> None:
    publish(store)
    wanted = keys(("user", 9), ("ad", 1), ("ad", 4), ("campaign", 2), ("advertiser", 3), ("user", 8))
    fetched = link.fetch(GENERATION, *wanted, np.array([[1, 2, 3]]))
    # The bundle's own row of ad 1 (1.5) shows that it came packed.
    assert fetched.values[:, 0].tolist() == [9.0, 1.5, 7.0, 2.0, 0.0, 0.0]
    assert fetched.found.tolist() == [True, True, True, True, False, False]
    assert fetched.versions.tolist() == [5, 5, 5, 5, 5, 0]


def test_ad_without_a_bundle_is_fetched_row_by_row(store: RowStore, link: StoreLink) -> None:
    publish(store)
    fetched = link.fetch(GENERATION, *keys(("ad", 4), ("campaign", 2)), np.array([[4, 2, 3]]))
    assert fetched.values[:, 0].tolist() == [7.0, 2.0]


def test_bundle_that_holds_rows_alone_is_enough(
    store: RowStore, link: StoreLink, valkey_nodes: list[ValkeyServer]
) -> None:
    publish(store)
    for bucket in range(64):
        store.nodes.execute([("DEL", bucket_key("ads", 1, bucket))])
    fetched = link.fetch(GENERATION, *keys(("ad", 1), ("advertiser", 3)), np.array([[1, 2, 3]]))
    assert fetched.values[:, 0].tolist() == [1.5, 0.0]


def test_store_that_was_away_is_not_asked_again_before_it_is_seen_to_be_back() -> None:
    with valkey_server() as server:
        link = StoreLink(server.address, "ads")
        link.live_generation()
        server.kill()
        with pytest.raises(UnavailableError, match="redis"):
            link.fetch(GENERATION, *keys(("user", 9)), np.zeros((0, 3), dtype=np.int64))
        server.start()
        with pytest.raises(UnavailableError, match="a moment ago"):
            link.fetch(GENERATION, *keys(("user", 9)), np.zeros((0, 3), dtype=np.int64))
        link.live_generation()
        assert not link.fetch(GENERATION, *keys(("user", 9)), np.zeros((0, 3), dtype=np.int64)).found.any()
        link.close()


def test_store_that_lost_its_live_generation_is_away_until_what_is_served_is_loaded_again(
    store: RowStore, link: StoreLink, valkey_nodes: list[ValkeyServer]
) -> None:
    assert link.available, "nothing was ever live"
    publish(store)
    store.set_live(1)
    assert (link.live_generation(), link.available) == (1, True)
    flush(valkey_nodes)
    assert (link.live_generation(), link.available) == (None, False)
    link.lose()
    publish(store)
    store.set_live(1)
    assert (link.live_generation(), link.available) == (1, False)
    link.regain()
    assert link.fetch(GENERATION, *keys(("user", 9)), np.zeros((0, 3), dtype=np.int64)).found.all()


def test_distinct_gives_each_key_once() -> None:
    tables, values = np.array([1, 0, 1, 1], dtype=np.int16), ids(5, 5, 5, 4)
    places = distinct(tables, values)
    assert sorted(zip(tables[places].tolist(), values[places].tolist(), strict=True)) == [(0, 5), (1, 4), (1, 5)]


def test_other_commands_are_asked_on_the_same_way_which_the_first_failure_closes() -> None:
    with valkey_server() as server:
        link = StoreLink(server.address, "ads")
        with pytest.raises(UnavailableError):
            link.ask([("GET", "a")])
        link.live_generation()
        assert link.ask([("SET", "a", b"1"), ("GET", "a")]) == [b"OK", b"1"]
        server.kill()
        with pytest.raises(UnavailableError):
            link.ask([("GET", "a")])
        assert not link.available
        link.close()

"""The Redis side of a model, on a lone Valkey and on a cluster of three."""

from __future__ import annotations

import numpy as np
import pytest

from streams.contract.bundles import bundle_keys, bundle_layout, encode_bundles
from streams.contract.errors import ConflictError, InputError, NotFoundError, UnavailableError
from streams.contract.manifest import Generation, Rows
from streams.contract.rows import encode_rows
from streams.store.row_store import RowStore, open_row_store
from streams.store.row_writer import BundleWrite
from tests.support.generations import DIM, generation, ids, manifest, rows
from tests.support.valkey import ValkeyServer, valkey_server

USER, AD = 0, 1


def _first_version(store: RowStore, number: int = 1, version: int = 1) -> None:
    store.write_generation(generation(number), {"request": b"R", "candidate": b"C" * number})
    dense = {"weight": np.full(3, version, dtype=np.float32)}
    store.write_version(manifest(version, number), dense, {"ad": rows([1, 2, 3], version)}, {}, BundleWrite())


def _bundle(gen: Generation, version: int, ad: int) -> BundleWrite:
    layout = bundle_layout(gen)
    tuples = np.array([[ad, 7, 8]])
    packed = encode_rows(np.arange(3 * DIM, dtype=np.float32).reshape(3, DIM), "fp32").reshape(1, 3, -1)
    included, absent = np.array([[True, False, False]]), np.array([[False, True, False]])
    return BundleWrite(bundle_keys(tuples), encode_bundles(layout, version, tuples, included, absent, packed))


def test_fetch_rows_returns_values_versions_and_what_is_unknown_in_order(store: RowStore) -> None:
    _first_version(store)
    store.write_version(manifest(2), {}, {"user": rows([-5, 1], 9.0), "ad": rows([2], 8.0)}, {}, BundleWrite())
    fetched = store.fetch_rows(1, {AD: ids(3, 99, 2), USER: ids(1, -5)})
    assert fetched.versions.tolist() == [1, 0, 2, 2, 2]
    assert fetched.found.tolist() == [True, False, True, True, True]
    assert fetched.values[:, 0].tolist() == [1.0, 0.0, 8.0, 9.0, 9.0]


def test_fetch_of_nothing_is_empty(store: RowStore) -> None:
    _first_version(store)
    fetched, ads = store.fetch(1, {}, np.zeros((0, 3), dtype=np.int64))
    assert len(fetched.values) == len(ads.found) == 0


@pytest.mark.parametrize("encoding", ["fp32", "fp16", "int8"])
def test_many_rows_come_back_by_fetch_and_by_scan(store: RowStore, encoding: str) -> None:
    many = rows(list(range(-1500, 1500)))
    store.write_generation(generation(encoding=encoding), {})
    store.write_version(manifest(5), {}, {"ad": many}, {}, BundleWrite())
    fetched = store.fetch_rows(1, {AD: many.ids})
    assert fetched.found.all()
    np.testing.assert_allclose(fetched.values, many.values, atol={"fp32": 0, "fp16": 2e-3, "int8": 2e-2}[encoding])
    scanned = list(store.scan_rows(1))
    order = np.argsort(np.concatenate([part.ids for part in scanned]))
    assert (np.concatenate([part.ids for part in scanned])[order] == many.ids).all()
    assert (np.concatenate([part.rows.values for part in scanned])[order] == fetched.values).all()
    assert {int(t) for part in scanned for t in part.tables} == {AD}


def test_evicted_row_is_absent_and_carries_the_version_that_evicted_it(store: RowStore) -> None:
    _first_version(store)
    store.write_version(manifest(4), {}, {}, {"ad": ids(2)}, BundleWrite())
    fetched = store.fetch_rows(1, {AD: ids(2, 3)})
    assert fetched.versions.tolist() == [4, 1]
    assert fetched.found.tolist() == [False, True]


def test_dropped_tombstones_leave_nothing_but_rows_that_came_again(store: RowStore) -> None:
    _first_version(store)
    store.write_version(manifest(2), {}, {}, {"ad": ids(1, 2)}, BundleWrite())
    store.write_version(manifest(3), {}, {"ad": rows([1], 3.0)}, {}, BundleWrite())
    writer = store.writer(1)
    assert writer.drop_tombstones(0) == 0
    assert writer.drop_tombstones(2**60) == 1
    fetched = store.fetch_rows(1, {AD: ids(1, 2)})
    assert fetched.versions.tolist() == [3, 0]


def test_bundles_and_rows_come_in_one_fetch_and_strangers_of_the_same_key_do_not(store: RowStore) -> None:
    gen = generation()
    store.write_generation(gen, {})
    store.write_version(manifest(3), {}, {"user": rows([4], 4.0)}, {}, _bundle(gen, 3, ad=11))
    fetched, ads = store.fetch(1, {USER: ids(4)}, np.array([[12, 7, 8], [11, 7, 8]]))
    assert fetched.values[0, 0] == 4.0
    assert ads.found.tolist() == [False, True]
    assert ads.bundles.versions.tolist() == [3]
    assert ads.bundles.included.tolist() == [[True, False, False]]
    assert ads.bundles.absent.tolist() == [[False, True, False]]
    assert ads.bundles.rows[0].tolist() == [[0, 1, 2, 3], [0] * 4, [0] * 4]
    other = _bundle(gen, 3, ad=12)
    store.writer(1).write_bundles(BundleWrite(bundle_keys(np.array([[11, 7, 8]])), other.values))
    assert store.fetch_ads(1, np.array([[11, 7, 8]])).found.tolist() == [False]


def test_removed_bundle_is_not_found(store: RowStore) -> None:
    gen = generation()
    store.write_generation(gen, {})
    write = _bundle(gen, 3, ad=11)
    store.writer(1).write_bundles(write)
    assert sum(len(bundles.versions) for bundles in store.rows(1).scan_ads()) == 1
    store.writer(1).write_bundles(BundleWrite(removed=write.keys))
    assert store.fetch_ads(1, np.array([[11, 7, 8]])).found.tolist() == [False]


def test_version_is_seen_whole_dense_programs_and_head(store: RowStore) -> None:
    _first_version(store, version=6)
    version, dense = store.dense(1)
    assert (version, dense["weight"].tolist()) == (6, [6.0, 6.0, 6.0])
    assert store.programs(1) == {"request": b"R", "candidate": b"C"}
    assert store.program(1, "candidate") == b"C"
    with pytest.raises(NotFoundError):
        store.program(1, "other")
    head = store.head(1)
    assert head is not None
    assert head == manifest(6)
    assert store.generation(1) == generation(1)


def test_unknown_generation_raises_not_found(store: RowStore) -> None:
    for ask in (store.generation, store.dense, store.programs, store.set_live, store.collect, store.promote):
        with pytest.raises(NotFoundError, match="generation"):
            ask(7)
    assert store.head(7) is None
    assert store.live() is None


def test_generation_without_a_version_cannot_be_made_live(store: RowStore) -> None:
    store.write_generation(generation(1), {})
    with pytest.raises(ConflictError, match="no whole version"):
        store.promote(1)


def test_tables_of_two_dimensions_are_refused(store: RowStore) -> None:
    mixed = Generation(model="ads", generation=1, first_version=1, feature_hash="", schema="{}",
                       tables={"a": 4, "b": 8}, network={})  # fmt: skip
    with pytest.raises(InputError, match="dimension"):
        store.write_generation(mixed, {})


def test_rollback_goes_to_the_newest_older_generation_and_promote_comes_back(store: RowStore) -> None:
    for number in (1, 2, 3):
        _first_version(store, number, version=number)
    store.write_generation(generation(4), {})
    store.set_live(3)
    assert store.rollback().generation == 2
    assert store.live() == 2
    assert store.rollback(1).generation == 1
    with pytest.raises(NotFoundError, match="no older"):
        store.rollback()
    with pytest.raises(ConflictError, match="not older"):
        store.rollback(2)
    assert store.promote(3).generation == 3
    assert store.live() == 3


def test_collect_deletes_every_key_of_a_generation_and_refuses_the_live_one(
    store: RowStore, valkey_nodes: list[ValkeyServer]
) -> None:
    _first_version(store, 1)
    store.writer(1).write_bundles(_bundle(generation(1), 1, ad=3))
    store.report_applied(1, 1, 1000)
    _first_version(store, 2)
    store.set_live(1)
    with pytest.raises(ConflictError, match="live"):
        store.collect(1)
    store.set_live(2)
    store.collect(1)
    keys = [key for node in valkey_nodes for key in node.client().keys("*")]
    assert not [key for key in keys if b":1:" in key or b"{1." in key]
    assert store.generations() == [2]
    assert store.fetch_rows(2, {AD: ids(1)}).found.all()


def test_first_report_of_an_applied_version_stays(store: RowStore) -> None:
    for version, wall_ms in ((1, 100), (2, 200), (1, 300)):
        store.report_applied(1, version, wall_ms)
    assert store.applied(1) == {1: 100, 2: 200}


def test_refused_versions_are_kept_newest_first_and_bounded(store: RowStore) -> None:
    for step in range(103):
        store.report_refused({"step": step})
    refused = store.refused()
    assert [refused[0]["step"], len(refused)] == [102, 100]


def test_written_twice_is_as_written_once(store: RowStore) -> None:
    _first_version(store)
    _first_version(store)
    assert sum(len(part.ids) for part in store.scan_rows(1)) == 3
    assert store.generations() == [1]


def test_server_that_goes_away_raises_unavailable_and_answers_after_its_return() -> None:
    with valkey_server() as server:
        store = open_row_store(server.address, model="ads", password="")
        store.report_refused({})
        server.kill()
        with pytest.raises(UnavailableError, match=server.address):
            store.live()
        server.start()
        assert store.live() is None
        store.close()


def test_rows_beyond_the_servers_memory_raise_unavailable_with_the_remedy() -> None:
    with valkey_server(options=("--maxmemory", "3mb")) as server:
        store = open_row_store(server.address, model="ads", password="")
        store.write_generation(generation(), {})
        values = np.zeros((60_000, DIM), dtype=np.float32)
        with pytest.raises(UnavailableError, match="maxmemory"):
            store.writer(1).write_rows(1, {"ad": Rows(np.arange(60_000), values)})
        store.close()

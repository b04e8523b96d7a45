"""Bundles stay what the single rows are, through any sequence of versions and restarts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.contract.bundles import Bundles, bundle_keys, bundle_layout, decode_bundles
from streams.contract.columns import Array
from streams.contract.manifest import Rows
from streams.store.generation_rows import FetchedRows
from streams.store.row_writer import BundleWrite
from streams.versions.bundle_index import BundleConfig, BundleIndex
from tests.support.generations import DIM, generation

LAYOUT = bundle_layout(generation())
TABLES = [int(table) for table in LAYOUT.tables]
AdIds = tuple[int, int, int]


class World:
    """What a store holds, kept the plain way, and the rules that its bundles must obey."""

    def __init__(self, config: BundleConfig) -> None:
        self.config = config
        self.version = 0
        self.rows: dict[tuple[int, int], float] = {}
        self.bundles: dict[int, bytes] = {}
        self.index = BundleIndex(LAYOUT, config)

    def publish(self, changed: dict[tuple[int, int], float], evicted: set[tuple[int, int]], ads: list[AdIds]) -> None:
        """One version."""
        self.version += 1
        rows = {t: _rows({i: v for (of, i), v in changed.items() if of == t}) for t in TABLES}
        tombstones = {t: np.array([i for of, i in evicted if of == t], dtype=np.int64) for t in TABLES}
        seen = np.array(ads, dtype=np.int64).reshape(-1, 3)
        write = self.index.apply(self.version, rows, tombstones, seen, self.fetch)
        self.rows = {key: value for key, value in {**self.rows, **changed}.items() if key not in evicted}
        self._write(write)

    def restart(self) -> None:
        """A new index, from what the store holds."""
        self.index = BundleIndex(LAYOUT, self.config)
        surplus = self.index.load(self.decoded())
        self.index.settle()
        self._write(BundleWrite(removed=surplus))

    def fetch(self, wanted: Mapping[int, Array]) -> FetchedRows:
        """The rows before the version."""
        keys = [(table, int(id_)) for table, ids in wanted.items() for id_ in ids]
        values = np.array([[self.rows.get(key, 0.0)] * DIM for key in keys], dtype=np.float32).reshape(-1, DIM)
        found = np.array([key in self.rows for key in keys], dtype=np.bool_)
        return FetchedRows(values, found.astype(np.int64), found)

    def decoded(self) -> Bundles:
        """All bundles."""
        return decode_bundles(LAYOUT, list(self.bundles.values()))

    def check(self) -> None:
        """Every included row is the row, every absent one is absent, and what is neither stands in many bundles."""
        bundles = self.decoded()
        assert len(self.bundles) == len(self.index) <= self.config.capacity
        for ids, included, absent, values in zip(
            bundles.ids, bundles.included, bundles.absent, bundles.rows, strict=True
        ):
            for f, table in enumerate(TABLES):
                row = self.rows.get((table, int(ids[f])))
                if included[f]:
                    assert row is not None
                    assert (values[f] == np.float32(row)).all()
                assert not (absent[f] and row is not None)
        assert (bundles.versions <= self.version).all()

    def _write(self, write: BundleWrite) -> None:
        self.bundles.update(zip(write.keys.tolist(), write.values, strict=True))
        for key in write.removed.tolist():
            del self.bundles[key]


def _rows(values: dict[int, float]) -> Rows:
    filled = np.array([[value] * DIM for value in values.values()], dtype=np.float32).reshape(-1, DIM)
    return Rows(np.array(list(values), dtype=np.int64), filled)


KEYS = st.tuples(st.sampled_from(TABLES), st.integers(0, 6))
ADS = st.tuples(st.integers(0, 6), st.integers(0, 2), st.integers(0, 1))
VERSIONS = st.tuples(
    st.dictionaries(KEYS, st.floats(-4, 4, width=32), max_size=6), st.sets(KEYS, max_size=3), st.lists(ADS, max_size=5),
    st.booleans(),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(VERSIONS, max_size=12), st.integers(1, 12), st.integers(1, 6))
def test_bundles_equal_the_rows_after_any_versions_evictions_and_restarts(
    versions: list[tuple[dict[tuple[int, int], float], set[tuple[int, int]], list[AdIds], bool]],
    capacity: int,
    share_limit: int,
) -> None:
    world = World(BundleConfig(capacity=capacity, share_limit=share_limit))
    for changed, evicted, ads, restarts in versions:
        world.publish({key: value for key, value in changed.items() if key not in evicted}, evicted, ads)
        world.check()
        if restarts:
            world.restart()


def test_row_admitted_later_comes_into_the_bundles_that_lack_it() -> None:
    world = World(BundleConfig())
    world.publish({}, set(), [(1, 2, 3)])
    assert world.decoded().absent.all()
    world.publish({(TABLES[1], 2): 5.0}, set(), [])
    bundles = world.decoded()
    assert bundles.included.tolist() == [[False, True, False]]
    assert bundles.versions.tolist() == [2]
    assert bundles.rows[0, 1].tolist() == [5.0] * DIM


def test_row_of_more_ads_than_the_limit_leaves_every_bundle() -> None:
    world = World(BundleConfig(share_limit=3))
    campaign = (TABLES[1], 0)
    world.publish({campaign: 1.0}, set(), [(n, 0, n) for n in range(3)])
    assert world.decoded().included[:, 1].all()
    world.publish({}, set(), [(9, 0, 9)])
    bundles = world.decoded()
    assert not bundles.included[:, 1].any()
    assert not bundles.absent[:, 1].any()
    assert bundles.versions.tolist() == [2] * 4
    world.publish({campaign: 2.0}, set(), [])
    assert world.decoded().versions.tolist() == [2] * 4


def test_ad_not_seen_for_longest_loses_its_bundle_when_full() -> None:
    world = World(BundleConfig(capacity=2))
    for ads in ([(1, 0, 0)], [(2, 0, 0)], [(1, 0, 0)], [(3, 0, 0)]):
        world.publish({}, set(), ads)
    assert sorted(world.decoded().ids[:, 0].tolist()) == [1, 3]


def test_unchanged_bundles_are_not_written_again() -> None:
    world = World(BundleConfig())
    world.publish({(TABLES[0], 1): 1.0}, set(), [(1, 1, 1), (2, 2, 2)])
    world.publish({(TABLES[0], 1): 2.0, (TABLES[0], 99): 2.0}, set(), [(2, 2, 2)])
    bundles = world.decoded()
    assert sorted(zip(bundles.ids[:, 0].tolist(), bundles.versions.tolist(), strict=True)) == [(1, 2), (2, 1)]


def test_bundle_written_half_before_a_crash_is_made_whole_by_the_next_version() -> None:
    world = World(BundleConfig(share_limit=2))
    campaign = (TABLES[1], 0)
    world.publish({campaign: 1.0}, set(), [(1, 0, 1), (2, 0, 2)])
    before = dict(world.bundles)
    world.publish({}, set(), [(3, 0, 3)])
    lost = int(bundle_keys(np.array([[1, 0, 1]]))[0])
    world.bundles[lost] = before[lost]
    world.restart()
    world.publish({campaign: 7.0}, set(), [])
    world.check()

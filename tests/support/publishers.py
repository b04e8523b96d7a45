"""A publisher of a small model on a real log and a real store, and what both must then hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.contract.manifest import ModelUpdate, assemble
from streams.log.event_log import MODEL_UPDATES, EventLog, TopicPartition, open_log
from streams.store.row_store import RowStore
from streams.versions.commit import PublishTarget
from streams.versions.delta import Delta, Publisher
from streams.versions.publish import PublishConfig, ThreadedPublisher
from tests.support.deltas import delta
from tests.support.generations import SCHEMA, rows
from trainer.gate import GateConfig, gate

UPDATES = TopicPartition(MODEL_UPDATES, 0)

AD, CAMPAIGN = 1, 2
QUICK = PublishConfig(interval_seconds=0.0, first_pause_seconds=0.01, longest_pause_seconds=0.05)
Open = Callable[..., ThreadedPublisher]


@pytest.fixture
def updates_log(tmp_path: Path) -> Iterator[EventLog]:
    """An embedded log of its own."""
    log = open_log(f"embedded:{tmp_path / 'log'}")
    yield log
    log.close()


@pytest.fixture
def open_publisher(updates_log: EventLog, store: RowStore) -> Iterator[Open]:
    """Opens publishers on log and store, by default on the same model."""
    opened: list[ThreadedPublisher] = []

    def open_it(config: PublishConfig = QUICK, bounds: GateConfig | None = None, **fields: Any) -> ThreadedPublisher:
        opened.append(ThreadedPublisher(target(**{"log": updates_log, "store": store, **fields}), gate(bounds), config))
        assert opened[-1].wait_until_idle(60)
        return opened[-1]

    yield open_it
    for publisher in opened:
        publisher.close(0)


def target(log: EventLog, store: RowStore, **fields: Any) -> PublishTarget:
    """The small model."""
    return PublishTarget(**{"log": log, "store": store, "schema": SCHEMA, "network": {"kind": "test", "units": (4, 1)},
                            "programs": {"request": b"R", "candidate": b"C"}, **fields})  # fmt: skip


def publish(publisher: Publisher, candidate: Delta) -> None:
    """Offers the delta and waits until it is committed."""
    assert isinstance(publisher, ThreadedPublisher)
    assert publisher.offer(candidate), publisher.status()
    assert publisher.wait_until_idle(60), publisher.status()


def first(step: int = 1, **fields: Any) -> Delta:
    """A whole snapshot of three ads in two campaigns."""
    content: dict[str, Any] = {
        "rows": {"ad": rows([1, 2, 3], 1.0), "campaign": rows([7, 8], 2.0)},
        "ads": [(1, 7, 9), (2, 7, 9), (3, 8, 9)],
        "full": True,
    }
    return delta(step, **{**content, **fields})


def updates(log: EventLog, model: str = "ads") -> list[ModelUpdate]:
    """All versions of the model in the log."""
    begin = log.begin_offsets([UPDATES])
    found = assemble(record.value for record in log.read(begin, max_records=10_000))
    return [update for update in found if update.manifest.model == model]


def stored_rows(store: RowStore, number: int) -> dict[tuple[int, int], tuple[float, ...]]:
    """(table number, id) -> row."""
    return {
        (int(table), int(id_)): tuple(map(float, value))
        for part in store.scan_rows(number)
        for table, id_, value, found in zip(part.tables, part.ids, part.rows.values, part.rows.found, strict=True)
        if found
    }


def replayed_rows(log: EventLog, model: str, number: int) -> dict[tuple[int, int], tuple[float, ...]]:
    """What the log alone says the rows are."""
    state: dict[tuple[int, int], tuple[float, ...]] = {}
    names = list(SCHEMA.tables)
    for update in updates(log, model):
        if update.manifest.generation == number:
            for table, changed in update.rows.items():
                for id_, value in zip(changed.ids.tolist(), changed.values.tolist(), strict=True):
                    state[names.index(table), id_] = tuple(value)
            for table, gone in update.tombstones.items():
                for id_ in gone.tolist():
                    state.pop((names.index(table), id_), None)
    return state


def check_store(log: EventLog, store: RowStore, number: int) -> None:
    """The store is the view of the log, and every bundle says what the rows say."""
    stored = stored_rows(store, number)
    assert stored == replayed_rows(log, store.model, number)
    tables = store.rows(number).layout.tables.tolist()
    for bundles in store.rows(number).scan_ads():
        for tuple_, included, absent, values in zip(
            bundles.ids.tolist(), bundles.included, bundles.absent, bundles.rows, strict=True
        ):
            for f, key in enumerate(zip(tables, tuple_, strict=True)):
                if included[f]:
                    assert stored[key] == tuple(map(float, values[f]))
                assert not (absent[f] and key in stored)

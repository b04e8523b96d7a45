"""A process that publishes random versions as fast as it can until it is killed: `LOG REDIS SEED`.

It writes one line to standard output when it begins.
"""

from __future__ import annotations

import sys

import numpy as np

from streams.contract.columns import Array
from streams.contract.manifest import Rows
from streams.log.event_log import open_log
from streams.store.row_store import open_row_store
from streams.versions.bundle_index import BundleConfig
from streams.versions.commit import PublishTarget
from streams.versions.delta import Delta
from streams.versions.publish import PublishConfig, ThreadedPublisher
from tests.support.deltas import delta
from tests.support.generations import DIM, SCHEMA
from trainer.gate import gate

NUM_IDS = 60


def random_delta(random: np.random.Generator, step: int, full: bool) -> Delta:
    """Some rows changed, some evicted, some ads seen."""
    changed = {table: _some_ids(random) for table in ("user", "ad", "campaign", "advertiser")}
    return delta(
        step,
        rows={t: Rows(ids, random.uniform(-1, 1, (len(ids), DIM)).astype(np.float32)) for t, ids in changed.items()},
        tombstones={table: np.setdiff1d(_some_ids(random), ids) for table, ids in changed.items()},
        ads=[tuple(ad) for ad in random.integers(0, [NUM_IDS, NUM_IDS // 4, 4], (8, 3)).tolist()],
        full=full,
    )


def _some_ids(random: np.random.Generator) -> Array:
    ids: Array = random.choice(NUM_IDS, size=int(random.integers(0, 20)), replace=False).astype(np.int64)
    return ids


def main(log_address: str, redis_address: str, seed: str) -> None:
    """Publishes without end."""
    random = np.random.default_rng(int(seed))
    target = PublishTarget(
        log=open_log(log_address), store=open_row_store(redis_address, model="ads", password=""), schema=SCHEMA,
        network={"kind": "test"}, programs={"request": b"R"}, bundles=BundleConfig(capacity=80, share_limit=6),
    )  # fmt: skip
    publisher = ThreadedPublisher(target, gate(), PublishConfig(interval_seconds=0.0))
    assert publisher.wait_until_idle(60)
    sys.stdout.write("publishing\n")
    sys.stdout.flush()
    while True:
        publisher.offer(random_delta(random, publisher.last_step() + 1, publisher.wants_full()))
        assert publisher.wait_until_idle(60)


if __name__ == "__main__":
    main(*sys.argv[1:])

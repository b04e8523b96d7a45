"""Counters travel with the versions: served with one, an event gets the probability that the trainer gives it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from freshet.torn import count_torn
from serving.scorer.config import ScorerConfig
from serving.scorer.scorer import Answer, Scorer
from serving.scorer.service import start_scorer
from streams.contract.columns import Array
from streams.contract.encoding import encode_event
from streams.contract.errors import InputError
from streams.contract.events import Impression
from streams.contract.examples import ExampleBatch
from streams.contract.manifest import assemble
from streams.contract.wire import pack_request
from streams.log.event_log import EVENTS, MODEL_UPDATES, Append, EventLog, TopicPartition, open_log
from streams.store.row_store import RowStore, open_row_store
from streams.turns.cursor import cursor_at
from streams.versions.commit import PublishTarget
from streams.versions.publish import PublishConfig, ThreadedPublisher
from tests.support.counted import counted_schema
from tests.support.patience import PATIENT
from tests.support.toy_examples import START_MS, toy_batch, toy_recipe
from tests.support.valkey import valkey_server
from trainer.counting import count, look
from trainer.gate import GateConfig, gate
from trainer.learner import Learner
from trainer.model.export import export_programs
from trainer.offering import Offering
from trainer.prepare import Preparer

MODEL = "counted"
SCHEMA = counted_schema()
UPDATES = TopicPartition(MODEL_UPDATES, 0)
LENIENT = GateConfig(min_examples=10, max_calibration=1e6, min_calibration=1e-6, max_normalized_entropy=1e6,
                     norm_factor=1e6)  # fmt: skip


@dataclass
class World:
    """A learner that publishes to a log and a store, and their scorer's configuration."""

    log: EventLog
    store: RowStore
    publisher: ThreadedPublisher
    learner: Learner
    config: ScorerConfig

    def __post_init__(self) -> None:
        self.prepare = Preparer(SCHEMA)
        self.offering = Offering(self.learner, self.publisher, "examples")
        self.learnt = 0

    def learn(self, batches: int) -> None:
        for _ in range(batches):
            self.learner.learn(count(self.learner.online, self.prepare(toy_batch(16, start=16 * self.learnt))))
            self.learnt += 1

    def publish(self) -> None:
        assert self.publisher.wait_until_idle(60)
        assert self.offering.offer_if_due(cursor_at([0, 0]))
        assert self.publisher.wait_until_idle(60)

    def asked(self, seed: int) -> ExampleBatch:
        """One request, some seconds behind all that was learnt."""
        batch = toy_batch(1, candidates=20, start=10_000 + seed, seed=seed)
        at_ms = START_MS + 16_000 * self.learnt + 5_000 + 977 * seed
        return replace(batch, event_time_ms=np.array([at_ms], dtype=np.int64))

    def trained(self, asked: ExampleBatch) -> Array:
        logit = self.learner.predict(look(self.learner.online, self.prepare(asked)))
        probability: Array = 1 / (1 + np.exp(-logit.astype(np.float64)))
        return probability

    def served(self, service: Scorer, asked: ExampleBatch) -> Array:
        features = replace(self.prepare(asked).features, event_time_ms=asked.event_time_ms)
        (answer,) = service.score([pack_request(features, SCHEMA.hash)])
        assert isinstance(answer, Answer), answer
        return answer.probabilities


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with valkey_server() as redis:
        log = open_log(f"embedded:{tmp_path / 'log'}")
        log.create_topic(MODEL_UPDATES, 1)
        log.create_topic(EVENTS, 1)
        store = open_row_store(redis.address, model=MODEL, password="")
        learner = Learner(SCHEMA, toy_recipe())
        target = PublishTarget(
            log=log, store=store, schema=SCHEMA, network={}, programs=export_programs(learner.network)
        )  # fmt: skip
        publisher = ThreadedPublisher(target, gate(LENIENT), PublishConfig(interval_seconds=0.0))
        config = ScorerConfig(model=MODEL, log=log.address, redis=redis.address, live_poll_seconds=0.02,
                              warm_up_candidates=(1,), **PATIENT)  # fmt: skip
        yield World(log, store, publisher, learner, config)
        publisher.close(0)
        store.close()
        log.close()


def agree(world: World, service: Scorer, version: int) -> None:
    assert service.wait_for_version(version, 30)
    for seed in range(5):
        asked = world.asked(seed)
        np.testing.assert_allclose(world.served(service, asked), world.trained(asked), atol=1e-6)


def test_served_probability_is_the_trainers_for_the_same_event_and_version(world: World) -> None:
    world.learn(30)
    world.publish()
    service = start_scorer(world.config, environment={})
    try:
        agree(world, service, 1)
        for version in (2, 3):
            world.learn(10)
            world.publish()
            agree(world, service, version)
    finally:
        service.close()
    # A scorer that starts now has the counters from the store, those that no later version touched included.
    for hot_rows in (1000, 30):
        restarted = start_scorer(replace(world.config, max_hot_rows=hot_rows), environment={})
        try:
            agree(world, restarted, 3)
        finally:
            restarted.close()


def test_counters_decay_to_the_requests_own_time(world: World) -> None:
    world.learn(30)
    world.publish()
    service = start_scorer(world.config, environment={})
    try:
        agree(world, service, 1)
        asked = world.asked(0)
        later = replace(asked, event_time_ms=asked.event_time_ms + 600_000)
        assert np.abs(world.served(service, asked) - world.served(service, later)).max() > 1e-4
        np.testing.assert_allclose(world.served(service, later), world.trained(later), atol=1e-6)
    finally:
        service.close()


def test_audit_of_torn_scores_computes_the_counters_anew(world: World) -> None:
    world.learn(30)
    world.publish()
    asked = world.asked(1)
    shown = Impression(
        event_id="i", event_time_ms=int(asked.event_time_ms[0]), session_id="s", unit_id="u", ad_ids=list(asked.ad_id),
        user={name: np.asarray(asked.request[name]).tolist()[0] for name in ("user", "age")}
        | {"history": asked.request["history"][0]},  # type: ignore[index]
        candidates={name: np.asarray(asked.candidate[name]).tolist() for name in ("ad", "price")},
        version=1, generation=1, probabilities=world.trained(asked).tolist(),
    )  # fmt: skip
    other = replace_time(shown, 300_000)
    world.log.append([Append(TopicPartition(EVENTS, 0), encode_event(event)) for event in (shown, other)])
    updates = assemble(record.value for record in world.log.read({UPDATES: 0}))
    account = count_torn(world.log, world.store, updates, 10)
    assert (account.audited, account.torn) == (2, 1)


def replace_time(shown: Impression, later_ms: int) -> Impression:
    return msgspec.structs.replace(shown, event_id="j", event_time_ms=shown.event_time_ms + later_ms)


def test_lossy_rows_are_refused_for_counters() -> None:
    with pytest.raises(InputError, match="does not hold counters exactly"):
        PublishTarget(log=None, store=None, schema=SCHEMA, network={}, programs={}, row_encoding="int8")  # type: ignore[arg-type]


def test_half_lives_that_do_not_fit_a_row_are_refused_with_the_remedy() -> None:
    wide = counted_schema('[[counters]]\nname = "ad"\nkey = ["ad"]\nhalf_lives_seconds = [1, 2, 3, 4]\n')
    with pytest.raises(InputError, match="give features a dim of 10"):
        PublishTarget(log=None, store=None, schema=wide, network={}, programs={})  # type: ignore[arg-type]

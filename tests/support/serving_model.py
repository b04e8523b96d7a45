"""A published model on a real log and a real store, for tests of what stands before the scorer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.scorer.config import ScorerConfig
from serving.scorer.scorer import Scorer
from serving.scorer.service import start_scorer
from streams.contract.schema import Feature, Schema
from streams.log.event_log import EVENTS, EventLog, open_log
from streams.store.row_store import RowStore, open_row_store
from tests.support.patience import PATIENT
from tests.support.published import CONFIG, MODEL, PublishedModel
from tests.support.small_model import shared_schema
from tests.support.valkey import ValkeyServer, valkey_server
from trainer.model.network import build_network


@dataclass(frozen=True)
class ModelWorld:
    """The servers and the model that lives on them."""

    log: EventLog
    store: RowStore
    redis: ValkeyServer
    model: PublishedModel
    folder: Path

    def scorer_config(self) -> ScorerConfig:
        """For a scorer of this model."""
        return ScorerConfig(model=MODEL, log=self.log.address, redis=self.redis.address, live_poll_seconds=0.02,
                            **PATIENT)  # fmt: skip


@contextmanager
def model_world(folder: Path) -> Iterator[ModelWorld]:
    """Generation 1 of the schema of `tests.support.small_model.shared_schema`, live at version 1."""
    with valkey_server() as redis:
        log = open_log(f"embedded:{folder / 'log'}")
        log.create_topic(EVENTS, 2)
        store = open_row_store(redis.address, model=MODEL, password="")
        model = PublishedModel(log, store)
        model.begin()
        yield ModelWorld(log, store, redis, model, folder)
        store.close()
        log.close()


@contextmanager
def scorer_service(world: ModelWorld) -> Iterator[Scorer]:
    """The scorer in this process, with the live version applied."""
    service = start_scorer(world.scorer_config(), environment={})
    try:
        assert service.wait_for_version(1, 60)
        yield service
    finally:
        service.close()


def wider_schema() -> Schema:
    """The small model's schema with one feature more, so with another hash."""
    schema = shared_schema()
    more = Feature(name="section", scope="ad", kind="categorical", dim=4)
    return Schema(name=schema.name, features=(*schema.features, more))


def second_generation(world: ModelWorld) -> PublishedModel:
    """Generation 2, of the wider schema, live."""
    schema = wider_schema()
    model = PublishedModel(
        world.log, world.store, generation=2, first_version=world.model.version + 1, schema=schema,
        network=build_network(schema, CONFIG),
    )  # fmt: skip
    model.begin()
    return model

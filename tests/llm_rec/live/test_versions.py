"""What is published of a learner, as a scorer finds it in Redis; a real log, a real Valkey."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llm_rec.live.learner import LiveLearner
from streams.contract.recommend_wire import RECOMMENDER
from streams.log.event_log import RECOMMENDER_UPDATES, EventLog, open_log
from streams.store.row_store import RowStore, open_row_store
from streams.versions.updates_topic import UpdatesTopic
from tests.support.live_recommender import Served, batches, fitted, learner, newcomers, shown
from tests.support.published_recommender import Publishing, publishing
from tests.support.two_communities import NUM_ITEMS, NUM_USERS
from tests.support.valkey import ValkeyServer, flush

NEW = NUM_ITEMS + 1


@pytest.fixture
def updates_log(tmp_path: Path) -> Iterator[EventLog]:
    log = open_log(f"embedded:{tmp_path / 'log'}")
    yield log
    log.close()


@pytest.fixture
def store(valkey: ValkeyServer) -> Iterator[RowStore]:
    flush([valkey])
    opened = open_row_store(valkey.address, model=RECOMMENDER, password="")
    yield opened
    opened.close()


def is_served(learns: LiveLearner, served: Served) -> None:
    """Whether Redis holds exactly what the learner has."""
    count = len(learns.items)
    assert [item.name for item in served.items] == [item.name for item in learns.items.items]
    own = learns.tables.item_rows(np.arange(count))
    assert all(np.array_equal(served.item(number), own[number]) for number in range(count))
    for name, place in learns.users.places.items():
        row = learns.tables.user_rows(np.array([place]), learns.users.likes[[place]])[0]
        found = served.user(name)
        assert found is not None
        assert np.array_equal(found, row), name
        assert served.history(name) == learns.users.history(name).tolist(), name


def test_first_version_is_the_model_as_it_was_fitted_and_comes_before_any_like(
    updates_log: EventLog, store: RowStore
) -> None:
    learns = learner()
    with publishing(learns, updates_log, store) as to:
        assert to.publish()
        served = Served(store, 1)
    is_served(learns, served)
    assert len(served.items) == NUM_ITEMS
    assert served.unpacked.config == fitted().config
    assert served.head is not None
    assert (served.head.step, served.head.version, store.live()) == (0, 1, 1)


def test_versions_bring_what_changed_and_redis_ends_with_all_of_it(updates_log: EventLog, store: RowStore) -> None:
    learns = learner()
    with publishing(learns, updates_log, store) as to:
        to.publish()
        for turn, batch in enumerate(batches(newcomers(12))):
            learns.learn(batch)
            learns.learn(shown([("u1", NEW + turn)], start=turn))
            assert to.publish(), to.publisher.status()
            is_served(learns, Served(store, 1))
        head = store.head(1)
    assert head is not None
    assert head.step == learns.step
    assert head.examples == learns.num_examples
    assert head.newest_ingest_ms == learns.newest_ingest_ms
    assert len(head.ingest_quantiles_ms) == 101
    assert {"ndcg_at_100", "recall_at_20", "log_loss", "base_log_loss", "lifetime_log_loss"} <= set(head.metrics)
    newest = list(UpdatesTopic(updates_log, RECOMMENDER, RECOMMENDER_UPDATES).behind(0))[-1][0]
    assert len(newest.rows["users"].ids) < len(learns.users), "users that nothing was heard of stay out"


def test_an_evicted_user_is_gone_from_redis(updates_log: EventLog, store: RowStore) -> None:
    learns = learner(most_users=NUM_USERS + 4)
    with publishing(learns, updates_log, store) as to:
        to.publish()
        assert Served(store, 1).user("u0") is not None
        learns.learn(shown([(f"v{n}", n) for n in range(5)]))
        assert to.publish()
        served = Served(store, 1)
    assert served.user("u0") is None
    assert served.history("u0") == []
    is_served(learns, served)


def test_a_published_new_item_ranks_high_for_the_group_that_likes_it(updates_log: EventLog, store: RowStore) -> None:
    """Scores are computed from Redis alone, by the fitted language model."""
    learns = learner()
    with publishing(learns, updates_log, store) as to:
        to.publish()
        for turn in range(6):
            fans = [(f"fan{turn}-{n}", item) for n in range(3) for item in (1, 5, 7, NEW)]
            learns.learn(shown(fans, start=20 * turn))
        assert to.publish()
        served = Served(store, 1)
    number = [item.name for item in served.items].index(f"i{NEW}")
    for user in ("u3", "u5", "u7"):
        scores = served.scores(user)
        left = [n for n in np.argsort(-scores).tolist() if n not in served.history(user)]
        assert left.index(number) <= 1, "one of its own is left, too"


def test_a_rollback_leaves_the_older_generation_live_while_learning_goes_on(
    updates_log: EventLog, store: RowStore
) -> None:
    learns = learner()
    with publishing(learns, updates_log, store) as to:
        to.publish()
    older = Served(store, 1)
    with publishing(learns, updates_log, store, new_generation=True, promote=True) as to:
        to.publish()
        assert store.live() == 2
        assert store.rollback().generation == 1
        _learn_and_publish(learns, to)
        assert store.live() == 1
        is_served(learns, Served(store, 2))
    still = Served(store, 1)
    assert all(np.array_equal(still.item(n), older.item(n)) for n in range(NUM_ITEMS))


def test_a_learner_that_goes_on_continues_its_generation_with_the_same_catalogue(
    updates_log: EventLog, store: RowStore
) -> None:
    learns = learner()
    with publishing(learns, updates_log, store) as to:
        to.publish()
        learns.learn(shown([("u1", NEW)]))
        to.publish()
    with publishing(learns, updates_log, store) as to:
        learns.learn(shown([("u3", NEW + 1)], start=5))
        assert to.publish()
    assert store.generations() == [1]
    is_served(learns, Served(store, 1))


def test_a_new_generation_begins_with_the_catalogue_of_now(updates_log: EventLog, store: RowStore) -> None:
    learns = learner()
    with publishing(learns, updates_log, store) as to:
        to.publish()
    learns.learn(shown([("u1", NEW)]))
    with publishing(learns, updates_log, store, new_generation=True) as to:
        assert to.publish()
    served = Served(store, 2)
    assert len(served.unpacked.items) == NUM_ITEMS + 1
    is_served(learns, served)


def _learn_and_publish(learns: LiveLearner, to: Publishing) -> None:
    for batch in batches(newcomers(8)):
        learns.learn(batch)
    assert to.publish(), to.publisher.status()

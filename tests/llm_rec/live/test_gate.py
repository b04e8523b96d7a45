"""Versions that must not be served, offered to a real publisher."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llm_rec.live.gate import RecommenderGateConfig, recommender_gate
from llm_rec.live.learner import LiveLearner
from llm_rec.live.progressive import LikesWindow
from streams.contract.manifest import Generation
from streams.contract.recommend_wire import RECOMMENDER
from streams.log.event_log import EventLog, open_log
from streams.store.row_store import RowStore, open_row_store
from streams.versions.verdict import LiveView, Norms
from tests.support.deltas import delta
from tests.support.live_recommender import Served, batches, learner, newcomers
from tests.support.published_recommender import BOUNDS, publishing
from tests.support.valkey import ValkeyServer, flush

LIVE = LiveView(1, 1, Norms(row=2.0))


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


def diverge(learns: LiveLearner) -> None:
    with torch.no_grad():
        learns.tables.models.collaborative.items[3] = float("nan")


def explode(learns: LiveLearner) -> None:
    with torch.no_grad():
        learns.tables.models.collaborative.items[3] *= 1000


@pytest.mark.parametrize(("break_it", "code"), [(diverge, "non_finite"), (explode, "row_norm")])
def test_a_broken_row_is_refused_reported_and_not_served(
    break_it: Callable[[LiveLearner], None], code: str, updates_log: EventLog, store: RowStore
) -> None:
    learns = learner()
    with publishing(learns, updates_log, store) as to:
        to.publish()
        for batch in batches(newcomers(8)):
            learns.learn(batch)
        before = learns.tables.item_rows(np.array([3]))[0]
        assert to.publish()
        break_it(learns)
        learns.step += 1
        learns.tables.item_changed[3] = learns.step
        assert not to.publish()
        assert np.array_equal(Served(store, 1).item(3), before)
        assert to.offering.num_refused == 1
    [refused] = store.refused()
    assert [reason["code"] for reason in refused["reasons"]] == [code]


def window(
    loss: float = 2.0, accepted: float = 2.0, ndcg: float = 0.3, base_ndcg: float = 0.2, *, size: int = 400,
    noise: float = 0.1,
) -> LikesWindow:  # fmt: skip
    """Likes with such means."""
    rng = np.random.default_rng(0)
    return LikesWindow(*(mean + noise * rng.standard_normal(size) for mean in (loss, accepted, ndcg, base_ndcg)))


def verdict(newest: LikesWindow, *, live: LiveView | None = LIVE, **bounds: Any) -> list[str]:
    """The codes of what the gate says against a delta without rows."""
    described = Generation(
        model=RECOMMENDER, generation=1, first_version=1, feature_hash="same", schema="{}", tables={}, network={}
    )
    gate = recommender_gate(lambda: newest, replace(BOUNDS, **bounds))
    return [reason.code for reason in gate(delta(1), live, "same", described).reasons]


def test_likes_foretold_as_well_as_before_pass() -> None:
    assert verdict(window()) == []
    assert verdict(window(loss=2.04, accepted=2.0)) == [], "within the tolerance"


def test_a_model_that_foretells_the_same_likes_worse_is_refused() -> None:
    assert verdict(window(loss=2.2, accepted=2.0)) == ["log_loss_worse"]


def test_what_chance_may_do_is_not_refused() -> None:
    assert verdict(window(loss=2.2, accepted=2.0, noise=2.0)) == []


def test_too_few_compared_likes_are_not_judged_by_the_accepted_version() -> None:
    assert verdict(window(loss=2.2, accepted=2.0), min_compared=401) == []
    assert verdict(window(loss=2.2, accepted=float("nan"))) == []


def test_a_model_that_ranks_below_popularity_is_refused_behind_the_warm_up_alone() -> None:
    assert verdict(window(ndcg=0.2, base_ndcg=0.3)) == ["ranks_below_base"]
    assert verdict(window(ndcg=0.2, base_ndcg=0.3, noise=2.0)) == []
    assert verdict(window(ndcg=0.2, base_ndcg=0.3), warm_up_likes=401) == []


def test_too_few_likes_stop_a_later_version_and_not_the_first_of_a_generation() -> None:
    few = window(size=3)
    assert verdict(few, min_likes=4) == ["too_few_likes"]
    assert verdict(few, min_likes=4, live=None) == []


def test_a_loss_that_is_no_number_is_refused() -> None:
    assert verdict(window(loss=float("nan"))) == ["non_finite"]


def test_tables_of_another_meaning_are_refused() -> None:
    described = Generation(
        model=RECOMMENDER, generation=1, first_version=1, feature_hash="other", schema="{}", tables={}, network={}
    )
    found = recommender_gate(window, RecommenderGateConfig())(delta(1), None, "same", described)
    assert [reason.code for reason in found.reasons] == ["feature_hash"]

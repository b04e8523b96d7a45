"""The audit finds every score that is not its version's, and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from freshet.audit import model_updates
from freshet.torn import TornAccount, count_torn
from streams.contract.columns import column_from_values
from streams.contract.encoding import encode_event
from streams.contract.events import Impression
from streams.contract.values import ids_of
from streams.log.event_log import EVENTS, Append
from tests.support.published import PublishedModel
from tests.support.serving_model import ModelWorld, model_world

ARTICLES = ["a", "b", "c", "new"]
VERSIONS = 4


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ModelWorld]:
    """Five versions; each changes dense part and rows, the last takes a row away."""
    with model_world(tmp_path) as world:
        yield world


def replace_fields(impression: Impression, **changes: Any) -> Impression:
    return msgspec.structs.replace(impression, **changes)


def scores(impression: Impression) -> list[float]:
    assert impression.probabilities is not None
    return impression.probabilities


def scored(model: PublishedModel, number: int) -> Impression:
    """A request scored by the model's newest version, the plain way."""
    history: list[Any] = ["b", "new"][: number % 3]
    articles: list[Any] = ARTICLES
    batch = model.transform(
        {"user": column_from_values(["u"]), "history": column_from_values([history])},
        {"article": column_from_values(ARTICLES), "age": column_from_values([1.0, 2.0, None, 4.0])},
        np.zeros(len(ARTICLES), dtype=np.int32), num_requests=1,
    )  # fmt: skip
    return Impression(
        event_id=f"i{model.version}-{number}", event_time_ms=number, session_id="s", unit_id="u",
        ad_ids=ARTICLES, user={"user": "u", "history": history},
        candidates={"article": articles, "age": [1.0, 2.0, None, 4.0]},
        version=model.version, generation=model.generation, probabilities=model.expected(batch).tolist(),
    )  # fmt: skip


def next_version(model: PublishedModel) -> None:
    model.change_dense(model.version)
    ids = ids_of(model.schema.feature("article"), np.array(ARTICLES[:3], dtype=object)).tolist()
    gone = {"article": ids[:1]} if model.version == VERSIONS else {}
    kept = ids[1:] if gone else ids
    model.publish({"article": model.random_rows(kept, model.version)["article"]}, gone)


def history_of(model: PublishedModel) -> list[Impression]:
    """Three impressions of each version."""
    impressions = []
    for _ in range(VERSIONS):
        next_version(model)
        impressions += [scored(model, number) for number in range(3)]
    return impressions


def audit(world: ModelWorld, impressions: list[Impression], num_audited: int = 1000) -> TornAccount:
    [partition, *_] = world.log.partitions(EVENTS)
    world.log.append([Append(partition, encode_event(impression)) for impression in impressions])
    return count_torn(world.log, world.store, list(model_updates(world.log)), num_audited)


def test_scores_of_their_versions_are_not_torn(world: ModelWorld) -> None:
    impressions = history_of(world.model)
    assert audit(world, impressions) == TornAccount(audited=len(impressions), torn=0)


@pytest.mark.parametrize(
    "tear",
    [
        lambda i: replace_fields(i, version=i.version - 1),
        lambda i: replace_fields(i, version=i.version + 100),
        lambda i: replace_fields(i, generation=7),
        lambda i: replace_fields(i, probabilities=[*scores(i)[:-1], scores(i)[-1] + 1e-4]),
        lambda i: replace_fields(i, probabilities=[float("nan"), *scores(i)[1:]]),
        lambda i: replace_fields(i, probabilities=[*scores(i)[1:], scores(i)[0]]),
    ],
    ids=["older", "unpublished", "other-generation", "one-score-off", "not-a-number", "exchanged"],
)
def test_one_torn_score_among_good_ones_is_found(world: ModelWorld, tear: Callable[[Impression], Impression]) -> None:
    impressions = history_of(world.model)
    impressions[5] = tear(impressions[5])
    assert audit(world, impressions) == TornAccount(audited=len(impressions), torn=1)


def test_scores_of_the_fallback_are_not_audited(world: ModelWorld) -> None:
    [good, *others] = history_of(world.model)
    unversioned = [replace_fields(i, version=0) for i in others]
    assert audit(world, [good, *unversioned]) == TornAccount(audited=1, torn=0)


def test_audit_of_fewer_takes_a_sample_over_all(world: ModelWorld) -> None:
    impressions = history_of(world.model)
    wrong = [replace_fields(i, probabilities=[0.5] * len(i.ad_ids)) for i in impressions]
    assert audit(world, wrong, num_audited=5) == TornAccount(audited=5, torn=5)

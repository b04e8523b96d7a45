"""A hunt for answers that mix two versions, while versions stand in the log alone or in Redis alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from serving.recommender.recommender import Recommender
from streams.contract.columns import Array
from streams.contract.recommend_wire import CACHED_STATE, RecommendAnswer
from streams.store.row_store import RowStore
from tests.support.recommender_versions import PublishedRecommender, items_named
from tests.support.recommending import TOLERANCE, answer_of
from tests.support.valkey import wait_until

USERS = [f"user {number}" for number in range(10)]
NUM_CLIENTS = 3
NUM_VERSIONS = 40
_K = 4

Scores = dict[tuple[int, int, str], dict[str, float]]
"""(generation, version, user) -> what each item's score must be."""


@dataclass
class Findings:
    """What the clients met."""

    torn: list[str] = field(default_factory=list)
    flagged: list[str] = field(default_factory=list)
    served: set[tuple[int, int]] = field(default_factory=set)
    num_cached: int = 0
    num_answers: int = 0


def test_answers_are_of_one_version_while_versions_come(
    model: PublishedRecommender, start: Callable[..., Recommender]
) -> None:
    model.begin(users=USERS)
    scores: Scores = {}
    remember(model, scores)
    service = start(max_hot_rows=4, catch_up_timeout_seconds=20)

    def publish(findings: Findings) -> None:
        for number in range(NUM_VERSIONS):
            publish_next(model, scores, log_first=number % 3 != 0)
            if number % 3 == 0:
                wait_until(lambda: (1, model.version) in findings.served, "the newest version is not served")
        # Nothing is published any more, so that whoever is asked for again has been computed before.
        wait_until(lambda: findings.num_cached > 0, "no state was used again")

    findings = clients_while(service, scores, publish)
    assert findings.torn == []
    assert findings.flagged == []
    assert len(findings.served) > NUM_VERSIONS // 4
    assert service.stats().num_misses > NUM_VERSIONS
    assert findings.num_cached > 0


def test_answers_are_of_one_generation_while_generations_are_swapped(
    model: PublishedRecommender, store: RowStore, start: Callable[..., Recommender]
) -> None:
    second = PublishedRecommender(model.log, store, items_named(*"hgfedcba"), seed=9)
    scores: Scores = {}
    for each in (model, second):
        each.begin(users=USERS)
        remember(each, scores)
    service = start(catch_up_timeout_seconds=20)

    def swap(findings: Findings) -> None:
        for live in (1, 2, 1, 2):
            store.set_live(live)
            wait_until(lambda live=live: service.info().generation == live, "not swapped")  # type: ignore[misc]
            enough = findings.num_answers + 10 * NUM_CLIENTS
            wait_until(lambda enough=enough: findings.num_answers >= enough, "nobody is answered")  # type: ignore[misc]

    findings = clients_while(service, scores, swap)
    assert findings.torn == []
    assert findings.flagged == []
    assert {generation for generation, _ in findings.served} == {1, 2}


def test_hunt_tells_a_mixture_of_two_versions(model: PublishedRecommender) -> None:
    model.begin(users=USERS)
    scores: Scores = {}
    remember(model, scores)
    user = USERS[model.version % 3]
    old_row = model.user_rows[user]
    publish_next(model, scores, log_first=True)
    model.user_rows[user] = old_row
    mixed, whole = named_scores(model, user), scores[1, 2, user]
    assert max(abs(mixed[name] - score) for name, score in whole.items()) > 10 * TOLERANCE


def publish_next(model: PublishedRecommender, scores: Scores, *, log_first: bool) -> None:
    """A version with another row of every item, other users and histories, and now and then a new item."""
    rng = np.random.default_rng(model.version)
    new = items_named(f"new {model.version}") if model.version % 5 == 0 else []
    rows = model.random_rows(range(len(model.items) + len(new)), model.version)
    users = {user: rng.normal(size=model.width + 1).astype(np.float32) for user in USERS[model.version % 3 :: 3]}
    update = model.next_version(rows, users, {user: rng.integers(0, 8, size=3).tolist() for user in users}, new)
    remember(model, scores)

    for step in (model.append, model.write) if log_first else (model.write, model.append):
        step(update)
        time.sleep(0.01)


def remember(model: PublishedRecommender, scores: Scores) -> None:
    """Notes what the present version must answer."""
    for user in USERS:
        scores[model.generation, model.version, user] = named_scores(model, user)


def named_scores(model: PublishedRecommender, user: str) -> dict[str, float]:
    """The score of every item by name."""
    expected: Array = model.expected(user)
    return {item.name: float(score) for item, score in zip(model.items, expected, strict=True)}


def clients_while(service: Recommender, scores: Scores, change: Callable[[Findings], None]) -> Findings:
    """Runs `change` while clients ask; what they found."""
    findings, stop = Findings(), threading.Event()

    def ask(number: int) -> None:
        rng = np.random.default_rng(number)
        while not stop.is_set():
            user = USERS[int(rng.integers(0, len(USERS)))]
            look_at(findings, scores, user, answer_of(service, user, _K))

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(NUM_CLIENTS)]
    for client in clients:
        client.start()
    try:
        change(findings)
    finally:
        stop.set()
        for client in clients:
            client.join()
    return findings


def look_at(findings: Findings, scores: Scores, user: str, answer: RecommendAnswer) -> None:
    """Compares an answer with what its version must say."""
    expected = scores[answer.generation, answer.version, user]
    findings.served.add((answer.generation, answer.version))
    findings.num_answers += 1
    findings.num_cached += CACHED_STATE in answer.flags
    findings.flagged += [flag for flag in answer.flags if flag != CACHED_STATE]
    wrong = [item for item in answer.items if abs(expected.get(item.item_id, np.inf) - item.score) > TOLERANCE]
    if wrong or answer.num_items != len(expected):
        findings.torn.append(f"{user} at version {answer.version}: {answer.items} and not {expected}")

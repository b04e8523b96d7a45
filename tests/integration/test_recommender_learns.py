"""The recommender's whole way: trained on likes, served in Triton, taught by the stream, rolled back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from freshet.processes import freshet_command, spawn
from freshet.running import alive
from streams.contract.recommend_wire import RECOMMENDER
from tests.support.gateway import Http
from tests.support.liked_films import NEW_FILM, NUM_FILMS, NUM_USERS
from tests.support.recommender_stack import Services, Trained, click, names, now_ms, recommender_stack
from tests.support.stacks import freshet
from tests.support.valkey import wait_until

pytestmark = [pytest.mark.triton, pytest.mark.slow]

ASKING = "3"
"""A user who likes films of odd numbers, as the new one is, and is not shown it before it is recommended."""
FRIENDS = [str(user) for user in range(1, NUM_USERS + 1) if user % 2 and str(user) != ASKING]
MINUTE_S = 60.0
PATIENT = {"X-Deadline-Ms": "20000"}
"""Who recommends what is looked at, not how soon it is answered."""


@pytest.fixture
def services(trained: Trained, tmp_path: Path) -> Iterator[Services]:
    """Everything, with the trained recommender."""
    with recommender_stack(trained, tmp_path / "up") as running:
        yield running


def test_new_item_that_is_liked_is_recommended_within_a_minute_and_rollback_takes_it_back(
    services: Services, tmp_path: Path
) -> None:
    http = services.http
    assert {service["name"]: service["health"] for service in services.status["services"]}[RECOMMENDER] == "ok"
    wait_until(lambda: ask(http)["answered_by"] == "generative", "the recommender was not served", 60)
    before = ask(http)
    assert str(NEW_FILM) not in names(before)
    assert len(before["items"]) == NUM_FILMS - 6, "all films but those that the user liked in the train part"
    wait_until(lambda: told(services) == names(before)[:3], "`freshet recommend` tells of other films")

    like(http)
    wait_until(lambda: str(NEW_FILM) in names(ask(http))[:9], "the new film was not recommended", MINUTE_S)
    learnt = ask(http)
    assert learnt["version"] > before["version"]
    assert learnt["freshness_seconds"] < MINUTE_S

    stop(services.status, RECOMMENDER)
    settled = after_the_last_version(http)
    with another_generation(services, tmp_path):
        wait_until(lambda: ask(http)["generation"] > settled["generation"], "the new generation is not served", 120)
    newest = ask(http)["generation"]
    assert ask(http)["items"] != settled["items"], "a generation that learnt nothing of the stream"
    move(services, "rollback", settled["generation"])
    assert ask(http)["items"] == settled["items"]
    move(services, "promote", newest)


def test_demo_tells_what_the_recommender_learnt_of_the_same_traffic(trained: Trained) -> None:
    done = freshet("demo", "--data", trained.data, "--recommender", trained.model, "--no-open", "--json")
    assert done.code == 0, done.stderr
    account = done.json["recommender"]
    assert account["likes_learnt"] > 0
    assert (account["users"], account["new_items"]) == (NUM_USERS, 1)
    assert (account["versions_published"] > 1, account["versions_refused"]) == (True, 0)
    assert (account["recommended"]["answered_by"], len(account["recommended"]["items"])) == ("generative", 5)
    assert done.survivors == []


def move(services: Services, action: str, generation: int) -> None:
    """Makes the generation live by the command, and waits until it answers."""
    done = freshet("model", action, generation, "--model", RECOMMENDER, "--dir", services.folder, "--json")
    assert (done.code, done.json) == (0, {"live": generation}), done.stderr
    wait_until(lambda: ask(services.http)["generation"] == generation, f"the {action} was not followed", 60)


def stop(status: dict[str, Any], name: str) -> None:
    """Ends one service in good order."""
    pid = next(service["pid"] for service in status["services"] if service["name"] == name)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not alive(pid), f"{name} did not end", 60)


def ask(http: Http, **changes: Any) -> dict[str, Any]:
    """A recommendation that is not logged."""
    reply = http.post("/v1/recommend", {"unit_id": ASKING, "k": NUM_FILMS + 1, "log": False, **changes}, PATIENT)
    assert reply.status == 200, reply.body
    answer: dict[str, Any] = reply.json
    return answer


def told(services: Services) -> list[str]:
    """What `freshet recommend` answers; within half a second, so on a busy machine not always by the recommender."""
    done = freshet("recommend", "--user", ASKING, "-k", 3, "--no-log", "--dir", services.folder, "--json")
    return names(done.json)


def like(http: Http) -> None:
    """Friends click what they are recommended of their own community, then are shown the new film, and click it."""
    for friend in FRIENDS:
        given = http.post("/v1/recommend", {"unit_id": friend, "k": NUM_FILMS}, PATIENT).json
        clicks = [click(given["request_id"], friend, name) for name in names(given) if int(name) % 2 == int(friend) % 2]
        shown = {"type": "impression", "event_id": f"new-{friend}", "event_time_ms": now_ms(), "session_id": friend,
                 "unit_id": friend, "ad_ids": [str(NEW_FILM), "2"],
                 "candidates": {"movie_id": [str(NEW_FILM), "2"], "genres": [["Musical"], ["Western"]]}}  # fmt: skip
        events = [shown, *clicks, click(f"new-{friend}", friend, str(NEW_FILM))]
        reply = http.post("/v1/events", {"events": events})
        assert (reply.status, reply.json["rejected"]) == (202, [])


def after_the_last_version(http: Http) -> dict[str, Any]:
    """The answer once the newest version published is served."""
    newest = http.get("/v1/models?model=recommender").json["versions"][0]["version"]
    wait_until(lambda: ask(http)["version"] == newest, "the last version is not served", 60)
    return ask(http)


@contextmanager
def another_generation(services: Services, folder: Path) -> Iterator[None]:
    """A learner that begins a generation from the model's folder and only looks at the stream."""
    command = freshet_command(
        "recommender", "learn", "--from", str(services.model), "--checkpoints", str(folder / "others"),
        "--learning", "nothing", "--new-generation", "--promote")  # fmt: skip
    addresses = services.status["addresses"]
    env = {"FRESHET_LOG": addresses["log"], "FRESHET_REDIS": addresses["redis"]}
    learner = spawn("other-learner", command, folder, env=env)
    try:
        yield
        learner.check()
    finally:
        learner.stop()

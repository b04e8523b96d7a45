"""The language model stopped, killed, and Triton killed, while clients ask: they are answered in time, flagged."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from freshet.health import health_of
from serving.triton.model_processes import model_processes
from streams.contract.recommend_wire import RECOMMENDER
from tests.support.asking_clients import (
    AWAY,
    Answered,
    Asking,
    asking_clients,
    by_click_model,
    by_language_model,
    without_language_model,
)
from tests.support.gateway import Http
from tests.support.liked_films import GENRES, NUM_FILMS, NUM_USERS
from tests.support.recommender_stack import Services, Trained, click, now_ms, recommender_stack
from tests.support.valkey import wait_until

pytestmark = [pytest.mark.triton, pytest.mark.slow]

NUM_CLIENTS = 4
DEADLINE_MS = 4000
ASKED = {"unit_id": "3", "k": 5, "log": False}
ANSWERS = 8
"""Answers of a kind that are waited for in each phase."""
PAUSES = 8
PAUSE_SECONDS, RUN_SECONDS = 0.3, 0.1
"""Pauses shorter than what Triton takes for the end of a model's process."""
FILMS = [str(film) for film in range(1, NUM_FILMS + 1)]


@pytest.fixture
def services(trained: Trained, tmp_path: Path) -> Iterator[Services]:
    """Everything, and both models answer."""
    with recommender_stack(trained, tmp_path / "up") as running:
        show_and_click(running.http)
        for arm in ("ctr", "generative"):
            wait_until(partial(answers_itself, running.http, arm), f"{arm} was not ready", 90)
        yield running


def test_language_model_slow_or_killed_under_load_answers_keep_coming_flagged_none_late_and_it_comes_back(
    services: Services,
) -> None:
    with asking_clients(services.http, ASKED, number=NUM_CLIENTS, deadline_ms=DEADLINE_MS) as asking:
        asking.wait_for(by_language_model, ANSWERS)

        asking.begin("slowed")
        slow_down(language_model(services))
        back(asking, "back after it was slow")

        asking.begin("stopped")
        stopped = language_model(services)
        os.kill(stopped, signal.SIGSTOP)
        asking.wait_for(without_language_model, ANSWERS)
        with suppress(ProcessLookupError):
            os.kill(stopped, signal.SIGCONT)
        back(asking, "woken")

        asking.begin("killed")
        os.kill(killed := language_model(services), signal.SIGKILL)
        wait_until(lambda: "recommender: " in gateway_health(services), "`freshet status` does not tell of it", 30)
        asking.wait_for(without_language_model, ANSWERS)
        asking.wait_for(by_click_model, 1)
        back(asking, "back after its kill")
        assert language_model(services) != killed

        asking.begin("Triton killed")
        os.kill(triton(services), signal.SIGKILL)
        asking.wait_for(without_language_model, ANSWERS)
        back(asking, "back after Triton's kill")
        wait_until(lambda: gateway_health(services) == "ok", "`freshet status` tells of faults that are over", 60)
    sys.stdout.write("\n".join(asking.account()))
    for phase, answers in asking.answers.items():
        assert faults(answers) == [], phase


def faults(answers: list[Answered]) -> list[Answered]:
    """Those that break what is promised: 200, in time, not empty, flagged where and only where it did not answer."""
    return [
        each for each in answers
        if each.status != 200 or each.took_ms >= DEADLINE_MS or each.num_items != ASKED["k"]
        or each.answered_by not in ("generative", "ctr", "popularity")
        or bool(each.flags & AWAY) != without_language_model(each)
    ]  # fmt: skip


def back(asking: Asking, phase: str) -> None:
    """Nothing is done but wait until the language model answers again."""
    asking.begin(phase)
    asking.wait_for(by_language_model, ANSWERS)


def slow_down(process: int) -> None:
    """Three quarters of the time the process does nothing; where it is taken for dead meanwhile, it has its end."""
    with suppress(ProcessLookupError):
        for _ in range(PAUSES):
            os.kill(process, signal.SIGSTOP)
            time.sleep(PAUSE_SECONDS)
            os.kill(process, signal.SIGCONT)
            time.sleep(RUN_SECONDS)


def gateway_health(services: Services) -> str:
    """What `freshet status` says of the gateway."""
    return health_of("gateway", True, services.status["addresses"])


def triton(services: Services) -> int:
    """The server's process."""
    command = next(service["pid"] for service in services.status["services"] if service["name"] == "scorer")
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == command and fields[0] != "Z":
            return int(entry.name)
    raise AssertionError("no Triton runs")


def language_model(services: Services) -> int:
    """The process that computes the model `recommender`, once there is one."""
    wait_until(lambda: RECOMMENDER in model_processes(triton(services)), "nothing computes the language model", 60)
    return model_processes(triton(services))[RECOMMENDER]


def answers_itself(http: Http, arm: str) -> bool:
    """Whether the arm gives all that is asked for, and nobody in its place."""
    answer = http.post("/v1/recommend", {**ASKED, "arm": arm}).json
    return (answer["answered_by"], len(answer["items"])) == (arm, ASKED["k"])


def show_and_click(http: Http) -> None:
    """Each user is shown all films, and clicks those of its community: enough for a first version."""
    events: list[dict[str, Any]] = []
    for user in map(str, range(1, NUM_USERS + 1)):
        genres = [[GENRES[int(film) % 2]] for film in FILMS]
        events.append({"type": "impression", "event_id": f"shown-{user}", "event_time_ms": now_ms(), "session_id": user,
                       "unit_id": user, "ad_ids": FILMS,
                       "candidates": {"movie_id": FILMS, "genres": genres}})  # fmt: skip
        events += [click(f"shown-{user}", user, film) for film in FILMS if int(film) % 2 == int(user) % 2]
    reply = http.post("/v1/events", {"events": events})
    assert (reply.status, reply.json["rejected"]) == (202, [])

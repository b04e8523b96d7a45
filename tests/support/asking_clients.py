"""Clients that ask for recommendations again and again, and what they were answered, phase by phase."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.gateway import Http
from tests.support.valkey import wait_until

_PATIENCE_SECONDS = 90.0
_REST_SECONDS = 0.02
"""Between a client's requests: without it, quick answers leave no core to what has to start again."""
AWAY = frozenset({"recommender_deadline", "recommender_unavailable"})
"""The flags of an answer that the language model had no part in."""


@dataclass(frozen=True)
class Answered:
    """One answer, and the time from request to answer as the client saw it."""

    status: int
    took_ms: float
    answered_by: str
    num_items: int
    flags: frozenset[str]


@dataclass
class Asking:
    """What was answered so far; `phase` names what answers belong to that come from now on."""

    phase: str = ""
    answers: dict[str, list[Answered]] = field(default_factory=dict)
    failures: list[BaseException] = field(default_factory=list)
    """Why clients have ended."""

    def begin(self, phase: str) -> None:
        """Requests sent from now on are of this phase."""
        self.answers[phase] = []
        self.phase = phase

    def wait_for(self, wanted: Callable[[Answered], bool], number: int) -> None:
        """Waits until so many answers of the phase are of that kind."""
        seen = self.answers[self.phase]
        wait_until(lambda: bool(self.failures) or sum(map(wanted, seen)) >= number, self.phase, _PATIENCE_SECONDS)
        assert self.failures == [], self.phase

    def account(self) -> list[str]:
        """One line a phase: how many were answered, how many without the language model, the latest answer."""
        return [
            f"{phase}: {len(seen)} requests, {sum(map(without_language_model, seen))} without the language model, "
            f"answered by {sorted({each.answered_by for each in seen})}, "
            f"the slowest after {max(each.took_ms for each in seen):.0f} ms"
            for phase, seen in self.answers.items()
        ]


def without_language_model(answered: Answered) -> bool:
    """Whether somebody else answered in its place."""
    return answered.answered_by != "generative"


def by_language_model(answered: Answered) -> bool:
    """Whether the arm `generative` answered itself."""
    return answered.answered_by == "generative"


def by_click_model(answered: Answered) -> bool:
    """Whether the click model answered in its place."""
    return answered.answered_by == "ctr"


@contextmanager
def asking_clients(http: Http, body: dict[str, Any], *, number: int, deadline_ms: int) -> Iterator[Asking]:
    """So many clients, each of which asks again once it is answered, until the end of the block."""
    asking, stop = Asking(), threading.Event()
    asking.begin("before")

    def client() -> None:
        try:
            while not stop.wait(_REST_SECONDS):
                phase = asking.answers[asking.phase]
                phase.append(_ask(http, body, deadline_ms))
        except BaseException as error:
            asking.failures.append(error)

    threads = [threading.Thread(target=client) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield asking
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert asking.failures == []


def _ask(http: Http, body: dict[str, Any], deadline_ms: int) -> Answered:
    began = time.monotonic()
    reply = http.post("/v1/recommend", body, {"x-deadline-ms": str(deadline_ms)})
    took_ms = 1000 * (time.monotonic() - began)
    answer = reply.json
    return Answered(reply.status, took_ms, answer.get("answered_by", ""), len(answer.get("items", [])),
                    frozenset(answer.get("flags", ())))  # fmt: skip

"""When a learner tells of itself, by a clock that stands still until it is set on."""

from __future__ import annotations

import pytest

from streams.turns import pace
from streams.turns.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    return clock


def test_it_tells_once_the_seconds_are_over_and_a_step_was_made(clock: Clock) -> None:
    found = Pace(2.0)
    found.begin(0)
    assert not found.tells(1)
    clock.seconds += 2
    assert found.tells(1)
    clock.seconds += 5
    assert not found.tells(1)
    assert found.tells(2)
    assert not found.tells(3)


def test_the_step_of_the_start_is_told_of_too(clock: Clock) -> None:
    for step in (0, 7):
        found = Pace(1.0)
        found.begin(0)
        clock.seconds += 1
        assert found.tells(step)


def test_without_a_silence_every_step_is_told_of(clock: Clock) -> None:
    found = Pace(0.0)
    found.begin(0)
    assert [found.tells(step) for step in (1, 1, 2, 3)] == [True, False, True, True]


def test_what_was_learnt_before_the_run_does_not_count_as_its_pace(clock: Clock) -> None:
    found = Pace(1.0)
    clock.seconds += 60
    found.begin(1000)
    assert found.per_second(1000) == 0
    clock.seconds += 4
    assert found.per_second(1100) == 25

from __future__ import annotations

import pytest

from serving.recommender.pace import Pace

NOW = 1_000_000


def paced(seconds: float) -> Pace:
    pace = Pace()
    if seconds:
        pace.took(seconds, 1)
    return pace


@pytest.mark.parametrize(("seconds", "left_ms", "taken"), [
    (0.0, [5, 300, -1], [True, True, False]),
    (0.1, [350, 350, 350], [True, True, True]),
    (0.1, [250, 250, 250], [True, True, False]),
    (0.1, [100, 210, 330], [False, True, True]),
    (0.2, [100, 90], [True, False]),
    (0.2, [-5, -1], [False, False]),
])  # fmt: skip
def test_the_most_that_a_pass_can_answer_in_time_are_taken(
    seconds: float, left_ms: list[int], taken: list[bool]
) -> None:
    assert paced(seconds).in_time([NOW + left for left in left_ms], NOW).tolist() == taken


def test_who_names_no_time_is_always_answered() -> None:
    assert paced(1.0).in_time([0, NOW + 10, 0], NOW).tolist() == [True, False, True]
    assert paced(1.0).in_time([], NOW).tolist() == []


def test_pace_follows_the_newest_passes_and_counts_a_request_s_share() -> None:
    pace = Pace()
    pace.took(0.8, 4)
    assert pace.seconds == pytest.approx(0.2)
    for _ in range(30):
        pace.took(0.05, 1)
    assert pace.seconds == pytest.approx(0.05, rel=0.01)

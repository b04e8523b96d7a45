"""The time of a request as its stations share it: in figures, and as a recommender that does not answer is told it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from serving.gateway.arms import GenerativeArm, Wanted
from serving.gateway.candidate_pool import CandidatePool
from serving.gateway.deadline_shares import DeadlineShares, Station
from serving.gateway.recommender import Recommender
from serving.gateway.triton_client import TritonClient, TritonClientConfig
from streams.contract.errors import InputError

SHARES = DeadlineShares()
ALL_LATE: tuple[Station, ...] = ("recommender", "history", "click_model")
CLOCK_SECONDS = 0.2
"""Between a look at the clock of the wall and one at that which only goes on, on a busy machine."""
WHOLES = [0.001, 0.005, 0.019, 0.02, 0.05, 0.1, 0.5, 4.0, 60.0]


def left_after(stations: tuple[Station, ...], whole: float, shares: DeadlineShares = SHARES) -> float:
    """Seconds that are left of `whole` where each of the stations took all that it may."""
    for station in stations:
        whole -= shares.seconds(station, whole)
    return whole


@pytest.mark.parametrize("whole", WHOLES)
@pytest.mark.parametrize("station", ALL_LATE)
def test_station_takes_no_more_than_its_share_and_leaves_what_is_kept_or_half(station: Station, whole: float) -> None:
    taken = SHARES.seconds(station, whole)
    assert 0 < taken <= getattr(SHARES, station) * whole
    assert whole - taken >= min(SHARES.kept_ms / 1000, whole / 2) * (1 - 1e-9)


@pytest.mark.parametrize(
    ("late", "whole", "left"),
    [(("click_model",), 0.5, 0.1), (("recommender", "click_model"), 0.5, 0.03), (ALL_LATE, 0.5, 0.021),
     (("recommender", "click_model"), 4.0, 0.24), (("click_model",), 0.04, 0.01), (("click_model",), 0.01, 0.005),
     (ALL_LATE, 0.02, 0.0035)],
)  # fmt: skip
def test_popularity_has_left_what_is_promised(late: tuple[Station, ...], whole: float, left: float) -> None:
    assert left_after(late, whole) == pytest.approx(left)


def test_of_a_deadline_that_has_passed_there_is_nothing_to_take() -> None:
    assert SHARES.seconds("click_model", -0.2) == 0
    assert SHARES.deadline("click_model", 10.0, 10.2) == 10.2


def test_time_that_is_kept_does_not_come_on_top_of_a_share_that_leaves_more() -> None:
    generous = DeadlineShares(click_model=0.5, kept_ms=100)
    assert generous.seconds("click_model", 1.0) == 0.5
    assert generous.seconds("click_model", 0.15) == pytest.approx(0.075)


@pytest.mark.parametrize("change", [{"recommender": 0.0}, {"history": 1.0}, {"click_model": -1.0}, {"kept_ms": -1.0},
                                    {"kept_ms": float("nan")}, {"kept_ms": float("inf")}])  # fmt: skip
def test_shares_that_leave_nothing_to_somebody_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError) as refused:
        DeadlineShares(**change)
    assert refused.value.field == f"deadline_shares.{next(iter(change))}"


def test_recommender_that_does_not_answer_was_told_the_end_of_its_own_share() -> None:
    async def use() -> None:
        told_and_read: list[tuple[float, float]] = []
        hung_up = asyncio.Event()

        async def read_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b'"answer_by_ms":')
            by_ms = int((await reader.readuntil(b"}"))[:-1])
            told_and_read.append((by_ms / 1000 - time.time() + time.monotonic(), time.monotonic()))
            await reader.read()
            writer.close()
            hung_up.set()

        async with await asyncio.start_server(read_on, "127.0.0.1", 0) as silent:
            port = silent.sockets[0].getsockname()[1]
            client = TritonClient(TritonClientConfig(address=f"127.0.0.1:{port}"))
            arm = GenerativeArm(Recommender(client), CandidatePool(), DeadlineShares(recommender=0.25))
            whole = time.monotonic() + 2.0
            with pytest.raises(TimeoutError):
                await arm.recommend(Wanted(unit_id="u", k=1), whole)
            await client.close()
            await hung_up.wait()
        [(told, read)] = told_and_read
        # Asked at the first moment a quarter of two seconds is its own; asked later, a quarter of the rest.
        assert whole - 1.5 - CLOCK_SECONDS <= told <= read + 0.25 * (whole - read) + CLOCK_SECONDS

    asyncio.run(use())

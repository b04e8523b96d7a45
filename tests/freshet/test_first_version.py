"""Traffic pauses until a first version serves, against a real gateway: bounded, told, and never again afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from freshet.first_version import FirstVersion, FirstVersionConfig
from freshet.traffic import Traffic, TrafficConfig
from streams.contract.errors import InputError
from tests.freshet.test_traffic import ADS, impression
from tests.support.gateway import Http, config_for, gateway, wait_until_ready
from tests.support.ports import free_port
from tests.support.serving_model import ModelWorld, model_world

ENOUGH = 20 * len(ADS)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ModelWorld]:
    with model_world(tmp_path) as world:
        yield world


@pytest.fixture
def http(world: ModelWorld) -> Iterator[Http]:
    with gateway(config_for(world)) as http:
        yield http


def waited(url: str, shown: list[int], **changes: float) -> tuple[list[str], int]:
    """What is said, and how often something could be done meanwhile, as so many candidates have been shown."""
    told: list[str] = []
    turns = 0
    config = FirstVersionConfig(candidates=ENOUGH, **changes)

    def on_wait() -> None:
        nonlocal turns
        turns += 1

    async def run() -> None:
        first = FirstVersion(url, config, told.append)
        async with aiohttp.ClientSession() as session:
            for candidates in shown:
                await first.wait(session, candidates, on_wait)

    asyncio.run(run())
    return told, turns


def test_pause_ends_when_a_version_serves_and_is_never_made_again(http: Http) -> None:
    told, _ = waited(f"http://{http.host}", [0, ENOUGH - 1, ENOUGH, 2 * ENOUGH, 9 * ENOUGH],
                     patience_seconds=120, longest_seconds=120)  # fmt: skip
    assert len(told) == 1
    assert "a first version serves" in told[0]
    wait_until_ready(http)


def test_pauses_where_nothing_serves_come_after_as_many_candidates_again_and_end_for_good() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    shown = [ENOUGH, ENOUGH + 1, 2 * ENOUGH, 3 * ENOUGH, 9 * ENOUGH]
    told, turns = waited(url, shown, patience_seconds=1.0, longest_seconds=1.9)
    assert ["more examples follow" in line for line in told] == [True, False]
    assert "goes on without" in told[-1]
    assert turns > 2


def test_traffic_that_pauses_sends_every_event_and_says_so(http: Http) -> None:
    told: list[str] = []
    config = TrafficConfig(
        first_version=FirstVersionConfig(candidates=ENOUGH, patience_seconds=120, longest_seconds=120)
    )
    traffic = Traffic(f"http://{http.host}", config, lambda result: None, told.append)
    result = asyncio.run(traffic.run(iter([impression(n) for n in range(100)])))
    assert (result.requests, result.errors) == (100, 0)
    assert result.versions[1] >= 100 - (ENOUGH // len(ADS)) - config.clients
    assert len(told) == 1


@pytest.mark.parametrize("name", ["candidates", "patience_seconds", "longest_seconds"])
def test_pause_of_nothing_is_an_input_error(name: str) -> None:
    with pytest.raises(InputError, match=name):
        FirstVersionConfig(**{name: 0})

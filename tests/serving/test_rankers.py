"""One suite over every ranker, and what each promises beyond it."""

from __future__ import annotations

import asyncio
import copy
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from serving.gateway.inprocess_scorer import InProcessScorer
from serving.gateway.live_model import LiveModels
from serving.gateway.popularity import PopularityRanker
from serving.gateway.rankers import CtrRanker, FallbackRanker, Ranked, Ranker, RankRequest
from serving.gateway.triton_client import TritonClient, TritonClientConfig
from serving.scorer.scorer import Scorer
from serving.triton.server import TritonServer
from streams.contract.columns import Jagged
from streams.contract.errors import InputError, UnavailableError
from streams.contract.features import FeatureTransform
from streams.contract.manifest import Generation
from tests.support.ports import free_ports
from tests.support.serving_model import ModelWorld, model_world, scorer_service, second_generation
from tests.support.triton import BlockingClient, need_triton, ranker

RANKERS = ["in process", pytest.param("triton", marks=pytest.mark.triton), "popularity", "fallback"]
Use = Callable[[Ranker], Awaitable[None]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelWorld]:
    with model_world(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture(scope="module")
def service(world: ModelWorld) -> Iterator[Scorer]:
    with scorer_service(world) as service:
        yield service


@pytest.fixture(scope="module")
def triton(world: ModelWorld) -> Iterator[TritonServer]:
    need_triton()
    with ranker(world.folder / "triton", world.scorer_config()) as server:
        client = BlockingClient(server.http_address)
        client.wait_for_version(1)
        client.close()
        yield server


@pytest.fixture(params=RANKERS)
def run(request: pytest.FixtureRequest, world: ModelWorld) -> Callable[[Use], None]:
    """Runs a test's coroutine with a ranker of each kind."""

    def run(use: Use) -> None:
        asyncio.run(_with_ranker(request, world, use))

    return run


async def _with_ranker(request: pytest.FixtureRequest, world: ModelWorld, use: Use) -> None:
    if request.param == "popularity":
        await use(PopularityRanker())
    elif request.param == "in process":
        models = await live_models(world)
        await use(CtrRanker(InProcessScorer(request.getfixturevalue("service")), models))
    elif request.param == "triton":
        async with triton_ranker(request.getfixturevalue("triton").http_address, world) as ctr:
            await use(ctr)
    else:
        async with triton_ranker(f"127.0.0.1:{free_ports(1)[0]}", world) as absent:
            await use(FallbackRanker(absent, PopularityRanker()))


async def live_models(world: ModelWorld) -> LiveModels:
    """What the store says now."""

    def read() -> Generation | None:
        live = world.store.live()
        return None if live is None else world.store.generation(live)

    models = LiveModels(read)
    await models.refresh()
    return models


@asynccontextmanager
async def triton_ranker(address: str, world: ModelWorld) -> AsyncIterator[CtrRanker]:
    """The CTR ranker over a Triton's address."""
    client = TritonClient(TritonClientConfig(address=address))
    try:
        yield CtrRanker(client, await live_models(world))
    finally:
        await client.close()


def request_of(ads: list[str], **more: list[object]) -> RankRequest:
    """A reader of a and b, shown these articles."""
    ages: list[object] = [float(row) for row in range(len(ads))]
    return RankRequest(
        unit_id="u", ad_ids=ads, user={"user": "u", "history": ["a", "b"]},
        candidates={"article": list(ads), "age": ages, **more},
    )  # fmt: skip


async def scored(ranker: Ranker, request: RankRequest) -> Ranked:
    """The answer, with time enough."""
    return await ranker.rank(request, time.monotonic() + 30)


@pytest.mark.parametrize("num_candidates", [1, 2, 300])
def test_every_candidate_gets_one_finite_score(run: Callable[[Use], None], num_candidates: int) -> None:
    async def use(ranker: Ranker) -> None:
        ranked = await scored(ranker, request_of([f"ad{n}" for n in range(num_candidates)]))
        assert ranked.scores.shape == (num_candidates,)
        assert ranked.scores.dtype == np.float32
        assert np.isfinite(ranked.scores).all()

    run(use)


def test_ranking_changes_neither_the_request_nor_the_next_answer(run: Callable[[Use], None]) -> None:
    async def use(ranker: Ranker) -> None:
        request = request_of(["a", "b", "c"])
        before = copy.deepcopy(request)
        first, second = await scored(ranker, request), await scored(ranker, request)
        assert request == before
        assert first.scores.tolist() == second.scores.tolist()

    run(use)


def test_candidates_together_score_as_one_by_one(run: Callable[[Use], None]) -> None:
    async def use(ranker: Ranker) -> None:
        ads = ["a", "b", "c", "d"]
        together = await scored(ranker, request_of(ads))
        for row, ad in enumerate(ads):
            alone = await scored(ranker, request_of([ad], age=[float(row)]))
            assert alone.scores[0] == pytest.approx(together.scores[row], abs=1e-6)

    run(use)


def test_requests_at_once_do_not_mix(run: Callable[[Use], None]) -> None:
    async def use(ranker: Ranker) -> None:
        sizes = [1, 5, 2, 40, 3]
        answers = await asyncio.gather(*(scored(ranker, request_of(["x"] * size)) for size in sizes))
        assert [len(answer.scores) for answer in answers] == sizes

    run(use)


def test_served_probability_is_the_trainers(world: ModelWorld, service: Scorer) -> None:
    batch = FeatureTransform(world.model.schema)(
        {"user": ["u"], "history": Jagged(["a", "b"], np.array([2], dtype=np.int32))},
        {"article": ["a", "z"], "age": [0.0, 1.0]},
        np.zeros(2, dtype=np.int32),
        num_requests=1,
    )

    async def use() -> None:
        ctr = CtrRanker(InProcessScorer(service), await live_models(world))
        ranked = await scored(ctr, request_of(["a", "z"]))
        assert ranked.scores == pytest.approx(world.model.expected(batch), abs=1e-6)
        assert (ranked.version, ranked.generation, ranked.flags) == (1, 1, ())
        assert ranked.newest_ingest_ms == 1001

    asyncio.run(use())


@pytest.mark.parametrize(
    ("change", "field"),
    [({"colour": ["red"]}, "candidates.colour"), ({"age": ["old"]}, "age"), ({"age": [float("nan")]}, "age"),
     ({"article": [3]}, "article"), ({"article": [["a"]]}, "article"), ({"user": ["u"]}, "candidates.user"),
     ({"age": [True]}, "age"), ({"article": ["a", "b"]}, "article")],
)  # fmt: skip
def test_value_that_does_not_fit_the_schema_is_named(
    world: ModelWorld, service: Scorer, change: Mapping[str, list[object]], field: str
) -> None:
    async def use() -> None:
        ctr = CtrRanker(InProcessScorer(service), await live_models(world))
        with pytest.raises(InputError) as refused:
            await scored(FallbackRanker(ctr, PopularityRanker()), request_of(["a"], **change))
        assert refused.value.field == field
        assert refused.value.remedy

    asyncio.run(use())


def test_absent_model_is_answered_for_by_popularity_and_flagged(world: ModelWorld) -> None:
    async def use() -> None:
        async with triton_ranker(f"127.0.0.1:{free_ports(1)[0]}", world) as absent:
            ranked = await scored(FallbackRanker(absent, PopularityRanker()), request_of(["a"]))
            assert ranked.flags == ("ranker_unavailable",)
            assert ranked.version == 0
            assert await absent.missing() != []

    asyncio.run(use())


@pytest.mark.triton
def test_late_model_is_answered_for_by_popularity_in_time_and_flagged(world: ModelWorld, triton: TritonServer) -> None:
    async def use() -> None:
        async with triton_ranker(triton.http_address, world) as ctr:
            both = FallbackRanker(ctr, PopularityRanker())
            assert (await scored(both, request_of(["a"]))).flags == ()
            os.killpg(triton.pid, signal.SIGSTOP)
            deadline = time.monotonic() + 3
            try:
                ranked = await both.rank(request_of(["a"]), deadline)
            finally:
                os.killpg(triton.pid, signal.SIGCONT)
            assert time.monotonic() < deadline
            assert ranked.flags == ("deadline",)
            assert ranked.version == 0
            assert (await scored(both, request_of(["a"]))).version > 0

    asyncio.run(use())


def test_store_that_stalls_while_the_schema_changes_is_not_waited_for_beyond_the_models_share(tmp_path: Path) -> None:
    answered, reads = threading.Event(), list[bool]()

    with model_world(tmp_path) as world, scorer_service(world) as service:

        def read() -> Generation | None:
            if world.store.live() == 2:
                reads.append(answered.wait(60))
            return world.store.generation(world.store.live() or 0)

        async def use() -> None:
            models = LiveModels(read)
            await models.refresh()
            both = FallbackRanker(CtrRanker(InProcessScorer(service), models), PopularityRanker())
            assert service.wait_for_version(second_generation(world).version, 60)
            ranked = await both.rank(request_of(["a"]), time.monotonic() + 0.5)
            answered.set()
            assert (ranked.flags, ranked.version) == (("deadline",), 0)
            await models.refresh()
            assert reads == [True], "the store told what is live before the answer came, or nobody asked it"

        asyncio.run(use())


def test_no_live_generation_is_unavailable() -> None:
    async def use() -> None:
        models = LiveModels(lambda: None)
        await models.refresh()
        with pytest.raises(UnavailableError, match="no generation is live"):
            models.current()

    asyncio.run(use())


def test_generation_with_another_schema_is_followed_at_once(tmp_path: Path) -> None:
    with model_world(tmp_path) as world, scorer_service(world) as service:

        async def use() -> None:
            models = await live_models(world)
            ctr = CtrRanker(InProcessScorer(service), models)
            assert (await scored(ctr, request_of(["a"]))).generation == 1
            newer = second_generation(world)
            assert service.wait_for_version(newer.version, 60)
            assert models.current().generation == 1
            ranked = await scored(ctr, request_of(["a"]))
            assert (ranked.generation, ranked.version) == (2, newer.version)
            assert models.current().generation == 2
            world.store.rollback(1)
            await models.refresh()
            while (await scored(ctr, request_of(["a"]))).generation == 2:
                await asyncio.sleep(0.01)

        asyncio.run(use())

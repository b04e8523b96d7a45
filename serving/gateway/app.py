"""The gateway put together: the one place that knows every part.

/v1/score ──> ScoreEndpoint ──> FallbackRanker ─┬─> CtrRanker ──> Triton, or the scorer in process
                    │                           └─> PopularityRanker
/v1/recommend ──> RecommendEndpoint ──> Recommending ─┬─> Recommender ──> Triton
                    │                                 └─> CandidatePool less SeenItems, then the same rankers
/v1/events ─────────┴──> EventWriter ──> event log, or the spool
everything else ──> Starlette routes, from the table of operations
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.gateway.auth import Gate
from serving.gateway.candidate_pool import CandidatePool
from serving.gateway.config import IN_PROCESS, GatewayConfig
from serving.gateway.delivery import Delivery
from serving.gateway.event_writer import EventWriter
from serving.gateway.hedge import Hedges
from serving.gateway.http_errors import plain_answer
from serving.gateway.limits import InFlight
from serving.gateway.live_model import LiveModels
from serving.gateway.metrics import Metrics
from serving.gateway.model_store import ModelStore, VersionIndex
from serving.gateway.openapi import openapi_document
from serving.gateway.operations import Operation, build_routes
from serving.gateway.popularity import PopularityRanker
from serving.gateway.rankers import CtrRanker, FallbackRanker, Scorer
from serving.gateway.recommender import Absent, Recommender
from serving.gateway.recommending import Recommending
from serving.gateway.routes_events import EventsEndpoint, events_operations
from serving.gateway.routes_health import HealthEndpoint, health_operations
from serving.gateway.routes_models import ModelsEndpoint, models_operations
from serving.gateway.routes_recommend import RecommendEndpoint, RecommendParts, recommend_operations
from serving.gateway.routes_score import PATH as SCORE_PATH
from serving.gateway.routes_score import ScoreEndpoint, ScoreParts, score_operation
from serving.gateway.seen_items import SeenItems
from serving.gateway.server import GatewayServer, tune_process
from serving.gateway.spool import Spool
from serving.gateway.status import Status
from serving.gateway.triton_client import TritonClient, TritonClientConfig
from serving.scorer.store_link import StoreLink
from streams.contract.errors import UnavailableError
from streams.contract.events import Event
from streams.contract.recommend_wire import RECOMMENDER
from streams.contract.settings import settings_from
from streams.listening import bind
from streams.log.event_log import MODEL_UPDATES, RECOMMENDER_UPDATES, EventLog, open_log
from streams.store.row_store import open_row_store

__all__ = ["Gateway", "GatewayConfig", "create_app", "create_server", "serve"]

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What is started and stopped."""

    config: GatewayConfig
    metrics: Metrics
    spool: Spool
    delivery: Delivery
    writer: EventWriter
    store: ModelStore
    models: LiveModels
    scorer: Scorer
    ranker: FallbackRanker
    recommender: Recommender
    recommender_store: ModelStore
    seen: SeenItems
    recommending: Recommending
    gate: Gate
    in_flight: InFlight


class Gateway:
    """The ASGI application. Its lifespan starts and stops the parts."""

    def __init__(self, score: ScoreEndpoint, others: ASGIApp) -> None:
        self._score = score
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == SCORE_PATH and scope["method"] == "POST":
            await self._score(scope, receive, send)
        else:
            await self._others(scope, receive, send)


def create_app(config: GatewayConfig) -> Gateway:
    """The gateway for `config`. The log, Redis and Triton may be away; the spool's folder may not.

    Raises InputError for an address that is none, a foreign folder, or an address open to others without keys.
    """
    parts = build_parts(config)
    score = ScoreEndpoint(
        ScoreParts(
            ranker=parts.ranker,
            models=parts.models,
            writer=parts.writer,
            limits=config.limits,
            in_flight=parts.in_flight,
            gate=parts.gate,
            metrics=parts.metrics,
        )
    )
    operations = [score_operation(), *_operations(parts)]
    document = orjson.dumps(openapi_document([*operations, _document_operation(b"")], _version()))
    app = Starlette(
        routes=build_routes([*operations, _document_operation(document)], parts.gate),
        exception_handlers={HTTPException: _plain_error},
        lifespan=lambda app: running(parts),
    )
    return Gateway(score, app)


def create_server(config: GatewayConfig) -> GatewayServer:
    """A gateway bound to its port, not yet serving. Raises InputError where the port is taken, and as `create_app`."""
    bound = bind(config.host, config.port)
    try:
        app = create_app(config)
    except BaseException:
        bound.close()
        raise
    return GatewayServer(app, bound, shutdown_seconds=config.shutdown_seconds)


def serve(config: GatewayConfig, on_ready: Callable[[str], None] | None = None) -> None:
    """Runs a gateway until SIGINT or SIGTERM; then it answers what is under way and logs what was shown.

    Calls `on_ready(address)` once it answers. Raises as `create_server`; UnavailableError where it cannot start.
    """
    server = create_server(config)
    tune_process()
    server.serve_until_stopped(on_ready)


def build_parts(config: GatewayConfig) -> Parts:
    """All parts, not yet started."""
    gate = Gate.for_address(config.host, config.keys_file)
    metrics = Metrics()
    scorer = _scorer(config, metrics)
    first_log = _try_log(config.log)
    spool = Spool.open(config.spool_dir, config.spool)
    delivery = Delivery(lambda: first_log or open_log(config.log), spool=spool, metrics=metrics)
    popularity, pool = PopularityRanker(config.popularity), CandidatePool(config.pool)
    metrics.pool_items.set_function(lambda: pool.num_items)
    store = _store(config, config.model, MODEL_UPDATES)
    models = LiveModels(store.live_generation, poll_seconds=config.live_poll_seconds)
    in_flight = InFlight(config.limits)
    metrics.in_flight.set_function(lambda: in_flight.count)
    ctr, recommender = CtrRanker(scorer, models, config.deadline_shares), Recommender(_recommender(config))
    ranker = FallbackRanker(ctr, popularity)
    seen = _seen_items(config)
    recommending = Recommending(
        config.recommend, recommender, pool, seen, ctr=ctr, fallback=ranker, models=models,
        shares=config.deadline_shares,
    )  # fmt: skip
    return Parts(
        config=config,
        metrics=metrics,
        spool=spool,
        delivery=delivery,
        writer=EventWriter(
            config.writer,
            spool=spool,
            delivery=delivery,
            metrics=metrics,
            observe=lambda events: _observe(events, popularity, pool),
        ),
        store=store,
        models=models,
        scorer=scorer,
        ranker=ranker,
        recommender=recommender,
        recommender_store=_store(config, RECOMMENDER, RECOMMENDER_UPDATES),
        seen=seen,
        recommending=recommending,
        gate=gate,
        in_flight=in_flight,
    )


@asynccontextmanager
async def running(parts: Parts) -> AsyncIterator[None]:
    """Starts the parts; at the end writes what was shown and frees everything."""
    parts.writer.start()
    await asyncio.gather(parts.models.refresh(), parts.seen.refresh())
    following = [asyncio.create_task(each.follow()) for each in (parts.models, parts.seen)]
    try:
        yield
    finally:
        for task in following:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        # Blocking, for nobody is served any more, and the interpreter's own end may have taken the threads away.
        parts.writer.stop(parts.config.shutdown_seconds)
        await parts.scorer.close()
        await parts.recommender.close()
        parts.spool.close()
        parts.store.close()
        parts.recommender_store.close()
        parts.seen.close()


def _operations(parts: Parts) -> list[Operation]:
    status = Status(
        metrics=parts.metrics,
        ranker=parts.ranker,
        store=parts.store,
        writer=parts.writer,
        delivery=parts.delivery,
        spool=parts.spool,
        recommender=parts.recommender if parts.config.recommender else None,
        recommender_store=parts.recommender_store,
    )
    recommend = RecommendEndpoint(
        RecommendParts(
            recommending=parts.recommending,
            models=parts.models,
            writer=parts.writer,
            limits=parts.config.limits,
            in_flight=parts.in_flight,
            metrics=parts.metrics,
        )
    )
    stores = {parts.config.model: parts.store, RECOMMENDER: parts.recommender_store}
    return [
        *recommend_operations(recommend),
        *events_operations(EventsEndpoint(parts.writer, parts.config.limits, parts.metrics)),
        *models_operations(ModelsEndpoint(stores, parts.models)),
        *health_operations(HealthEndpoint(status, parts.metrics)),
    ]


def _observe(events: Sequence[Event], popularity: PopularityRanker, pool: CandidatePool) -> None:
    """What was shown and clicked, told to all who answer where a model is away."""
    popularity.observe(events)
    pool.observe(events)


def _recommender(config: GatewayConfig) -> Scorer:
    if config.triton != IN_PROCESS:
        return TritonClient(TritonClientConfig(address=config.triton, model=RECOMMENDER))
    if not config.recommender:
        return Absent()
    from serving.gateway.inprocess_recommender import InProcessRecommender
    from serving.recommender.config import RecommenderConfig
    from serving.recommender.service import start_recommender

    return InProcessRecommender(start_recommender(RecommenderConfig(log=config.log, redis=config.redis)))


def _scorer(config: GatewayConfig, metrics: Metrics) -> Scorer:
    if config.triton != IN_PROCESS:
        hedges = Hedges(config.hedge, lambda outcome: metrics.hedge_outcomes[outcome].inc())
        return TritonClient(TritonClientConfig(address=config.triton), hedges)
    # Only here, because the scorer brings torch, which a gateway before a Triton does without.
    from serving.gateway.inprocess_scorer import InProcessScorer
    from serving.scorer.config import ScorerConfig
    from serving.scorer.service import start_scorer

    _LOGGER.warning("no Triton: the ranker runs inside the gateway's process")
    return InProcessScorer(start_scorer(ScorerConfig(model=config.model, log=config.log, redis=config.redis)))


def _seen_items(config: GatewayConfig) -> SeenItems:
    link = StoreLink(config.redis, RECOMMENDER, password=settings_from().redis_password)
    return SeenItems(link, config.deadline_shares, poll_seconds=config.live_poll_seconds)


def _store(config: GatewayConfig, model: str, topic: str) -> ModelStore:
    return ModelStore(
        lambda: open_row_store(config.redis, model=model), VersionIndex(lambda: open_log(config.log), topic)
    )


def _try_log(address: str) -> EventLog | None:
    """The log, or None where it is away now; an address that is none is an InputError at once."""
    try:
        return open_log(address)
    except UnavailableError as error:
        _LOGGER.warning("the event log is away, events go to the spool: %s", error)
        return None


def _document_operation(document: bytes) -> Operation:
    async def show(request: Request) -> Response:
        return Response(document, media_type="application/json")

    return Operation(method="GET", path="/openapi.json", handler=show, access="open", summary="This document.")


async def _plain_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = plain_answer(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
    return Response(body, status_code=error.status_code, headers=error.headers, media_type="application/json")


def _version() -> str:
    try:
        return version("freshet")
    except PackageNotFoundError:
        return "0"

"""/v1/models: what is live, what there is, what was refused; rollback and promotion of generations."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from serving.gateway.live_model import LiveModels
from serving.gateway.model_store import ModelStore
from serving.gateway.operations import Operation, json_response, path_number
from streams.contract.errors import NotFoundError
from streams.contract.manifest import Generation, Manifest
from streams.contract.recommend_wire import RECOMMENDER


class ModelsAnswer(msgspec.Struct, kw_only=True):
    """The model's generations and newest versions; `live` is the live generation, null before the first."""

    model: str
    live: int | None
    generations: list[dict[str, Any]]
    versions: list[dict[str, Any]]
    refused: list[dict[str, Any]]


class LiveAnswer(msgspec.Struct, kw_only=True):
    """The generation that is live now. Scorers follow within a fraction of a second."""

    live: int


class ModelsEndpoint:
    """Operations on generations; the stores are asked off the event loop."""

    def __init__(self, stores: Mapping[str, ModelStore], live: LiveModels) -> None:
        """`stores` by model, the first of them the one that is meant where none is named."""
        self._stores = stores
        self._live = live

    async def overview(self, request: Request) -> Response:
        """Everything there is."""
        return json_response(await asyncio.to_thread(self._store(request).overview))

    async def show(self, request: Request) -> Response:
        """One version's manifest."""
        version = path_number(request, "version")
        manifest = await asyncio.to_thread(self._store(request).versions.manifest, version)
        return json_response(msgspec.to_builtins(manifest))

    async def rollback(self, request: Request) -> Response:
        """Makes an older generation live."""
        generation = path_number(request, "generation")
        return await self._now_live(await asyncio.to_thread(self._store(request).rollback, generation))

    async def promote(self, request: Request) -> Response:
        """Makes any generation live."""
        generation = path_number(request, "generation")
        return await self._now_live(await asyncio.to_thread(self._store(request).promote, generation))

    def _store(self, request: Request) -> ModelStore:
        """The store of the model that the query names. Raises NotFoundError."""
        name = request.query_params.get("model") or next(iter(self._stores))
        if name not in self._stores:
            raise NotFoundError("is no model here", field="model", value=name,
                                remedy=f"use one of {', '.join(self._stores)}")  # fmt: skip
        return self._stores[name]

    async def _now_live(self, generation: Generation) -> Response:
        await self._live.refresh()
        return json_response({"live": generation.generation})


def models_operations(endpoint: ModelsEndpoint) -> list[Operation]:
    """The operations of this module."""
    query = {"model": f"Which model: the click model where left out, or `{RECOMMENDER}`."}
    away = {503: "The row store or the event log is away.", 404: "No such model."}
    change = {**away, 404: "No such model or generation.", 409: "Not allowed now.", 422: "Not a number."}
    return [
        Operation(method="GET", path="/v1/models", handler=endpoint.overview, access="any",
                  summary="Generations, versions, what is live and what was refused.",
                  answer=ModelsAnswer, errors=away, query=query),
        Operation(method="POST", path="/v1/models/{generation}:rollback", handler=endpoint.rollback, access="admin",
                  summary="Make an older generation live.", answer=LiveAnswer, errors=change, query=query),
        Operation(method="POST", path="/v1/models/{generation}:promote", handler=endpoint.promote, access="admin",
                  summary="Make a generation live.", answer=LiveAnswer, errors=change, query=query),
        Operation(method="GET", path="/v1/models/{version}", handler=endpoint.show, access="any",
                  summary="One version's manifest.", answer=Manifest,
                  errors={**away, 404: "No such model, or no such version.", 422: "Not a number."}, query=query),
    ]  # fmt: skip

"""The live generation's schema, read from the row store and kept fresh off the requests' path."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np

from streams.contract.columns import Column
from streams.contract.errors import FreshetError, UnavailableError
from streams.contract.events import Value
from streams.contract.features import FeatureBatch, FeatureTransform
from streams.contract.manifest import Generation
from streams.contract.schema import Schema, schema_from_json

_LOGGER = logging.getLogger(__name__)
_KEPT = 2


class ServedModel:
    """One generation's transform, fed with the values of one request."""

    def __init__(self, generation: int, schema: Schema) -> None:
        self.generation = generation
        self.feature_hash = schema.hash
        self.schema = schema
        self._transform = FeatureTransform(schema)
        self._of_request = frozenset(f.name for f in schema.features if f.of_request)
        self.ad_features = frozenset(f.name for f in schema.features if not f.of_request)
        self.reads_ad_id = "ad_id" in self.ad_features
        self._numeric = [f.name for f in schema.features if not f.of_request and f.dtype != "string"]

    def transform(
        self, user: Mapping[str, Value], context: Mapping[str, Value], candidates: Mapping[str, list[Any]], rows: int
    ) -> FeatureBatch:
        """Ids and dense values of one request with `rows` candidates. Raises InputError naming feature and entry."""
        self._check_names(user, context, candidates)
        request: dict[str, Column] = {name: [value] for name, value in user.items()}
        request.update((name, [value]) for name, value in context.items())
        columns: dict[str, Column] = dict(candidates)
        if not self.reads_ad_id:
            columns.pop("ad_id", None)
        for name in self._numeric:
            values = candidates.get(name)
            if values is not None:
                columns[name] = _packed(values)
        return self._transform(request, columns, np.zeros(rows, dtype=np.int32), num_requests=1)

    def _check_names(
        self, user: Mapping[str, Value], context: Mapping[str, Value], candidates: Mapping[str, list[Any]]
    ) -> None:
        for values, where in ((user, "user"), (context, "context")):
            if not values.keys() <= self._of_request:
                self._transform.check_names(list(values), of_request=True, where=where)
        unknown = candidates.keys() - self.ad_features - {"ad_id"}
        if unknown:
            self._transform.check_names(sorted(unknown), of_request=False, where="candidates")


class LiveModels:
    """The live generation's model and the one before it: while a rollback goes through, either may be asked for."""

    def __init__(self, read_live: Callable[[], Generation | None], *, poll_seconds: float = 0.5) -> None:
        self._read_live = read_live
        self._poll_seconds = poll_seconds
        self._models: dict[str, ServedModel] = {}
        self._failure: FreshetError | None = None
        self._refreshing: asyncio.Task[None] | None = None

    def current(self) -> ServedModel:
        """The live generation's. Raises UnavailableError where there is none yet."""
        for model in self._models.values():
            return model
        raise UnavailableError("no generation is live", field="model",
                               remedy="publish one: `freshet train` does") from self._failure  # fmt: skip

    @property
    def reads_ad_id(self) -> bool:
        """Whether `ad_id` is a feature too, so that events must keep its column; True while nobody knows."""
        return next((model.reads_ad_id for model in self._models.values()), True)

    def known(self) -> list[ServedModel]:
        """The live one first."""
        return list(self._models.values())

    async def refresh(self) -> None:
        """Reads the live generation now, once for all who ask; what is known stays where the store is away."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._read())
        await asyncio.shield(self._refreshing)

    async def follow(self) -> None:
        """Refreshes for ever."""
        while True:
            with suppress(asyncio.TimeoutError):
                await self.refresh()
            await asyncio.sleep(self._poll_seconds)

    async def _read(self) -> None:
        try:
            generation = await asyncio.to_thread(self._read_live)
            if generation is not None:
                self._take(generation)
            self._failure = None
        except FreshetError as error:
            if self._failure is None:
                _LOGGER.warning("cannot read the live generation: %s", error)
            self._failure = error

    def _take(self, generation: Generation) -> None:
        newest = next(iter(self._models.values()), None)
        if newest is not None and newest.generation == generation.generation:
            return
        model = ServedModel(generation.generation, schema_from_json(generation.schema))
        others = {key: kept for key, kept in self._models.items() if key != model.feature_hash}
        self._models = {model.feature_hash: model, **dict(islice(others.items(), _KEPT - 1))}


def _packed(values: list[Any]) -> Column:
    """Numbers as an array, which transforms far faster; anything else as it is, for the transform to judge."""
    kinds = set(map(type, values))
    if kinds == {float} or kinds == {int, float}:
        return np.array(values, dtype=np.float64)
    if kinds == {int}:
        with suppress(OverflowError):
            return np.array(values, dtype=np.int64)
    return values

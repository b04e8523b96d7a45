"""Items with raw features of whatever age, ranked by the CTR model.

Their features were taken from old impressions, so they may not be those that the live schema knows, or not
fit it: what does not is left out, for the request's sender can do nothing about it. What the sender gave, the
features of unit and context, is refused as in /v1/score.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from serving.gateway.live_model import LiveModels, ServedModel
from serving.gateway.rankers import Ranked, Ranker, RankRequest
from streams.contract.errors import InputError

Features = Mapping[str, Any]


class ItemRanker:
    """Ranks named items by `ranker`."""

    def __init__(self, ranker: Ranker, models: LiveModels) -> None:
        self._ranker = ranker
        self._models = models

    async def rank(
        self, request: RankRequest, features: Sequence[Features], deadline: float
    ) -> tuple[Ranked, dict[str, list[Any]]]:
        """(scores of `request.ad_ids` (N,), the columns by which they were ranked); features (N,) are the items'.

        Raises as `Ranker.rank`; InputError for the request's own features alone.
        """
        try:
            return await self._rank(request, features, deadline)
        except InputError:
            self.check(request.user, request.context)
            model = self._models.current()
        return await self._rank(request, [each if _fits(model, each) else {} for each in features], deadline)

    def check(self, user: Features, context: Features) -> None:
        """Raises InputError where features of a unit or a context do not fit the live schema, if there is one."""
        for model in self._models.known()[:1]:
            model.transform(user, context, {}, 1)

    async def _rank(
        self, request: RankRequest, features: Sequence[Features], deadline: float
    ) -> tuple[Ranked, dict[str, list[Any]]]:
        model = next(iter(self._models.known()), None)
        columns = columns_of(request.ad_ids, features, None if model is None else model.ad_features)
        return await self._ranker.rank(replace(request, candidates=columns), deadline), columns


def columns_of(
    items: Sequence[str], features: Sequence[Features], names: Collection[str] | None
) -> dict[str, list[Any]]:
    """The items' features as columns (N,) of those names (None: of all that an item has), None where missing.

    `ad_id` is among them where it is a feature, or where nobody knows whether it is.
    """
    found = dict.fromkeys(name for each in features for name in each if names is None or name in names)
    columns = {name: [each.get(name) for each in features] for name in found}
    if names is None or "ad_id" in names:
        columns["ad_id"] = list(items)
    return columns


def _fits(model: ServedModel, features: Features) -> bool:
    try:
        model.transform({}, {}, {name: [value] for name, value in features.items() if name in model.ad_features}, 1)
    except InputError:
        return False
    return True

"""The model `recommender` in this process."""

from __future__ import annotations

from collections.abc import Mapping

from serving.gateway.inprocess_model import InProcessModel
from streams.contract.columns import Array
from streams.contract.recommend_wire import RecommendAnswer, pack_recommend


class InProcessRecommender(InProcessModel[RecommendAnswer]):
    """Recommends items."""

    def outputs(self, result: RecommendAnswer) -> Mapping[str, Array]:
        return {"answer": pack_recommend(result)}

"""The model `ranker` in this process."""

from __future__ import annotations

from collections.abc import Mapping

from serving.gateway.inprocess_model import InProcessModel
from serving.scorer.scorer import Answer
from streams.contract.columns import Array


class InProcessScorer(InProcessModel[Answer]):
    """Scores requests."""

    def outputs(self, result: Answer) -> Mapping[str, Array]:
        return {"probability": result.probabilities, "info": result.info.as_array()}

"""The recommender as a model of Triton's Python backend: a request's bytes in, an answer's bytes out."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

from serving.recommender.config import RecommenderConfig
from serving.recommender.recommender import Recommender, Result
from serving.recommender.service import start_recommender
from serving.scorer.scorer import Refusal
from serving.triton.python_model import PythonModel, refused
from serving.triton.repository import config_from_json
from streams.contract.recommend_wire import pack_recommend


class RecommenderModel(PythonModel):
    """The model `recommender`."""

    parameter = "recommender"
    inputs = ("request",)
    metrics_prefix = "freshet_recommender_"

    def start(self, config: str) -> Recommender:
        return start_recommender(config_from_json(config, RecommenderConfig))

    def response(self, result: Result) -> Any:
        if isinstance(result, Refusal):
            return refused(result.message)
        return pb_utils.InferenceResponse([pb_utils.Tensor("answer", pack_recommend(result))])

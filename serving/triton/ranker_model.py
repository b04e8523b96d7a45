"""The scorer as a model of Triton's Python backend: tensors in, tensors out, nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from serving.scorer.config import ScorerConfig
from serving.scorer.scorer import Refusal, Result, Scorer
from serving.scorer.service import start_scorer
from serving.triton.python_model import PythonModel, refused
from serving.triton.repository import config_from_json
from streams.contract.wire import INPUTS


class RankerModel(PythonModel):
    """The model `ranker`."""

    parameter = "scorer"
    inputs = tuple(INPUTS)
    metrics_prefix = "freshet_scorer_"

    def start(self, config: str) -> Scorer:
        return start_scorer(config_from_json(config, ScorerConfig))

    def response(self, result: Result) -> Any:
        if isinstance(result, Refusal):
            return refused(result.message)
        probabilities = result.probabilities if result.probabilities.size else np.zeros(1, dtype=np.float32)
        return pb_utils.InferenceResponse([
            pb_utils.Tensor("probability", np.ascontiguousarray(probabilities, dtype=np.float32).reshape(1, -1)),
            pb_utils.Tensor("info", result.info.as_array()),
        ])  # fmt: skip
